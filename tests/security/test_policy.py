"""The SROS2 policy of a stack: its form, its names, its mistakes."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from deepilc import paths, security, stack
from deepilc.cli.app import run

RULES = {"topics": {"publish", "subscribe"}, "services": {"request", "reply"}}
NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")


def only(element: ElementTree.Element, tag: str, attributes: set[str]) -> list[ElementTree.Element]:
    """The children of an element that must be of one kind, have these attributes, and no text."""
    children = list(element)
    assert children
    for child in children:
        assert child.tag == tag
        assert set(child.attrib) == attributes
        assert not (child.text or "").strip()
    return children


def check_schema(text: str) -> ElementTree.Element:
    """What sros2's schema of version 0.2.0 (policies.xsd) and ROS 2's rules for names demand."""
    root = ElementTree.fromstring(text)
    assert (root.tag, root.attrib) == ("policy", {"version": "0.2.0"})
    (enclaves,) = only(root, "enclaves", set())
    for enclave in only(enclaves, "enclave", {"path"}):
        assert NAME.fullmatch(enclave.attrib["path"])
        (profiles,) = only(enclave, "profiles", set())
        for profile in only(profiles, "profile", {"ns", "node"}):
            assert profile.attrib["ns"] == "/" or NAME.fullmatch(profile.attrib["ns"])
            for group in profile:
                ((rule, value),) = group.attrib.items()
                assert rule in RULES[group.tag]
                assert value == "ALLOW"
                names = [entry.text for entry in group]
                assert names
                assert {entry.tag for entry in group} == {group.tag.removesuffix("s")}
                assert all(NAME.fullmatch(name) for name in names), "absolute, without wildcards"
                assert names == sorted(set(names))
    return enclaves


def allowed(enclaves: ElementTree.Element, path: str, rule: str) -> set[str]:
    (enclave,) = enclaves.findall(f"enclave[@path='{path}']")
    return {entry.text for group in enclave.iter() if rule in group.attrib for entry in group}


@pytest.mark.parametrize("namespace", ["", "left"])
@pytest.mark.parametrize("name", paths.stack_names())
def test_the_policy_of_every_stack_is_one_of_sros2_with_an_enclave_per_node(
    name: str, namespace: str
) -> None:
    chosen = stack.load(name)
    enclaves = check_schema(security.policy(chosen, namespace))
    root = f"/{namespace}".rstrip("/")
    nodes = {*chosen.nodes, "operator", "monitor"}
    assert len(enclaves) == len(nodes)
    assert {e.attrib["path"] for e in enclaves} == {f"{root}/{node}" for node in nodes}
    assert not security.unknown(chosen)


def test_only_the_bridge_may_command_the_robot_and_only_the_operator_may_arm() -> None:
    enclaves = check_schema(security.policy(stack.load("quadrotor_hardware")))
    paths_of = [enclave.attrib["path"] for enclave in enclaves]

    def who(rule: str, name: str) -> set[str]:
        return {path for path in paths_of if name in allowed(enclaves, path, rule)}

    assert who("publish", "/rotor_controller/commands") == {"/bridge"}
    assert who("request", "/arm") == {"/operator"}
    assert who("publish", "/policy") == {"/learner"}
    assert who("publish", "/action") == {"/policy"}


def test_a_profile_of_ones_own_and_remaps_reach_the_policy(tmp_path: Path) -> None:
    profile = yaml.safe_load((paths.PROFILES / "quadrotor_odometry.yaml").read_text())
    (source,) = profile["sources"].values()
    profile["sources"] = {"/mocap/odometry": source}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(profile))
    changes = [f"nodes.bridge.parameters.profile={file}", "nodes.bridge.remappings={arm: go}"]
    text = security.policy(stack.load("quadrotor_hardware", changes), "left")
    enclaves = check_schema(text)
    assert "/mocap/odometry" in allowed(enclaves, "/left/bridge", "subscribe")
    replies = allowed(enclaves, "/left/bridge", "reply")
    assert "/left/go" in replies
    assert "/left/arm" not in replies


def test_a_node_that_is_not_ours_is_named_and_gets_no_topic(tmp_path: Path, capsys) -> None:
    change = "nodes.extra={package: mine, executable: camera}"
    out = tmp_path / "policy.xml"
    assert run(["security", "policy", "quadrotor_sim", "--set", change, "-o", str(out)]) == 0
    assert "extra (mine camera)" in capsys.readouterr().err
    enclaves = check_schema(out.read_text())
    assert allowed(enclaves, "/extra", "publish") == {"/rosout", "/parameter_events"}
    assert allowed(enclaves, "/extra", "subscribe") == set()


def test_a_file_that_cannot_be_written_is_a_mistake_of_the_user(tmp_path: Path, capsys) -> None:
    out = tmp_path / "nowhere" / "policy.xml"
    assert run(["security", "policy", "quadrotor_sim", "-o", str(out)]) == 2
    assert "cannot write" in capsys.readouterr().err

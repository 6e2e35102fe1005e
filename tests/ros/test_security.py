"""The table of topics and services against the live graph of running processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from std_msgs.msg import String

from deepilc import security, stack, up
from tests.bags.writing import all_serialized, flight, record

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SMALL = (
    "train.batch_size=64", "train.replay_capacity=5000", "train.agent.critic_hidden=32",
    "train.agent.actor_hidden=32", "train.evaluation_episodes=0",
)  # fmt: skip
FIELDS = ("publishes", "subscribes", "serves", "calls")


@pytest.fixture
def start(tmp_path: Path, ros_domain: int) -> Iterator[Any]:
    """Starts a stack as `deepilc up` does."""
    running: list[up.Runner] = []

    def begin(name: str, *changes: str, **options: Any) -> up.Runner:
        chosen = stack.load(name, [*SMALL, *changes])
        folder = up.prepare(chosen, tmp_path / "run")
        runner = up.Runner(chosen, folder.path, **options)
        running.append(runner)
        return runner.__enter__()

    yield begin
    for runner in running:
        runner.stop()


def live(probe: Any, place: stack.Place) -> dict[str, set[str]]:
    """What a running node really offers and uses."""
    node, where = probe.node, (place.name, place.namespace)
    answers = (
        node.get_publisher_names_and_types_by_node,
        node.get_subscriber_names_and_types_by_node,
        node.get_service_names_and_types_by_node,
        node.get_client_names_and_types_by_node,
    )
    return {
        field: {name for name, _ in answer(*where)}
        for field, answer in zip(FIELDS, answers, strict=True)
    }


def compare(probe: Any, runner: up.Runner, namespace: str, **options: Any) -> None:
    """Every node of a stack uses what the policy allows, all of it, and nothing else."""
    places = {runner.stack.place(node, namespace).path for node in runner.stack.nodes}
    seen = set()
    for place, names in security.enclaves(runner.stack, namespace, **options):
        if place.path not in places:
            continue  # of people
        wanted = {field: set(getattr(names, field)) for field in FIELDS}
        wanted["publishes"] -= {"/tf"} - _tf()

        def equal(place: Any = place, wanted: Any = wanted) -> bool:
            if (place.name, place.namespace) not in probe.node.get_node_names_and_namespaces():
                return False
            return live(probe, place) == wanted

        try:
            probe.until(equal, f"the names of {place.path}")
        except pytest.fail.Exception:
            assert live(probe, place) == wanted  # says what differs
            raise
        seen.add(place.path)
    assert seen == places


def _tf() -> set[str]:
    try:
        import tf2_msgs.msg  # noqa: F401
    except ImportError:
        return set()
    return {"/tf"}


def operate(namespace: str, command: str) -> str:
    code = "from deepilc_ros.operate import main; raise SystemExit(main())"
    ros = ["--ros-args", "-r", f"__ns:=/{namespace}"]
    done = subprocess.run(
        [sys.executable, "-c", code, command, *ros], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nodes_of_a_simulation_use_what_the_policy_allows_and_nothing_else(
    start: Any, probe: Any
) -> None:
    renamed = [f"nodes.{node}.remappings={{observation: seen}}" for node in ("policy", "recorder")]
    runner = start(
        "quadrotor_sim", *renamed,
        "nodes.bridge.remappings={observation: seen, arm: go}",
        "nodes.bridge.parameters.publish_clock=true",
        "nodes.recorder.parameters.linearizations=true",
        "nodes.recorder.parameters.also=/extra more",
        namespace="here", use_sim_time=True,
    )  # fmt: skip
    for topic in ("/extra", "/here/more"):
        probe.node.create_publisher(String, topic, 1)
    compare(probe, runner, "here", use_sim_time=True)


def test_nodes_of_a_rehearsal_use_what_policy_and_profile_say_and_nothing_else(
    start: Any, probe: Any
) -> None:
    random = "nodes.learner.parameters.initial=random"
    runner = start("quadrotor_rehearsal", random, namespace="there")
    assert "bridge is active" in operate("there", "start")
    compare(probe, runner, "there")


def test_nodes_of_two_robots_use_what_the_policy_allows_and_nothing_else(
    start: Any, probe: Any
) -> None:
    changes = ("nodes.recorder.parameters.linearizations=true",)
    compare(probe, start("two_quadrotors", *changes, namespace="pair"), "pair")


def test_nodes_that_learn_from_a_bag_use_what_the_policy_allows_and_nothing_else(
    start: Any, probe: Any, tmp_path: Path
) -> None:
    bag = record(tmp_path, all_serialized(flight(episodes=2)))
    changes = (f"nodes.player.parameters.bags={bag}", "nodes.learner.parameters.stay=true",
               "nodes.learner.parameters.initial=random")  # fmt: skip
    runner = start("bag_replay", *changes)
    compare(probe, runner, "")


def test_the_monitor_uses_what_the_policy_allows_and_nothing_else(probe: Any) -> None:
    chosen = stack.load("quadrotor_sim")
    found = {place.path: names for place, names in security.enclaves(chosen, "watched")}
    wanted = {field: set(getattr(found["/watched/monitor"], field)) for field in FIELDS}
    command = [sys.executable, "-m", "deepilc", "monitor", "--namespace", "watched"]
    monitor = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ))
    try:
        place = stack.Place("/watched", "monitor", {})
        probe.until(
            lambda: (
                ("monitor", "/watched") in probe.node.get_node_names_and_namespaces()
                and live(probe, place) == wanted
            ),
            f"the names of the monitor, {wanted}",
        )
    finally:
        monitor.kill()
        monitor.wait(20)


def test_the_operator_calls_what_the_policy_allows_it() -> None:
    from deepilc_ros import operate as operator

    names = next(
        names
        for place, names in security.enclaves(stack.load("quadrotor_hardware"))
        if place.name == "operator"
    )
    lifecycle = {f"/{n}/{s}" for n in operator.NODES for s in ("get_state", "change_state")}
    assert names.calls == lifecycle | {f"/{service}" for service in operator.SERVICES}
    assert names.subscribes == {"/bridge_status"}

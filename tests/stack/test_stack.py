"""Stack files: what is read, what is refused, and in which words."""

from pathlib import Path

import pytest
import yaml

from deepilc import config as configuration
from deepilc import nested, paths, presets, stack
from deepilc.errors import UserError
from sims import registry


def write(folder: Path, **content: object) -> Path:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


NODE = {"executable": "bridge_node"}


@pytest.mark.parametrize("name", paths.stack_names())
def test_every_shipped_stack_loads_and_survives_being_written(name: str, tmp_path: Path) -> None:
    loaded = stack.load(name)
    copy = tmp_path / "copy.yaml"
    copy.write_text(stack.dump(loaded))
    assert stack.load(copy) == loaded


def test_settings_of_the_run_reach_every_node_and_its_own_parameters_win(tmp_path: Path) -> None:
    nodes = {"a": NODE, "b": {**NODE, "parameters": {"seed": 7}}}
    loaded = stack.load(write(tmp_path, train={"seed": 3}, nodes=nodes))
    assert loaded.node_parameters("a", tmp_path)["seed"] == 3
    assert loaded.node_parameters("b", tmp_path)["seed"] == 7
    assert loaded.node_parameters("a", tmp_path)["run"] == str(tmp_path)
    assert loaded.name == "mine"


@pytest.mark.parametrize(("name", "pacing"), [("quadrotor_sim", "lockstep"),
                                              ("quadrotor_realtime", "real_time")])  # fmt: skip
def test_all_nodes_of_a_stack_keep_the_same_pace(name: str, pacing: str, tmp_path: Path) -> None:
    loaded = stack.load(name)
    paces = {loaded.node_parameters(node, tmp_path)["pacing"] for node in loaded.nodes}
    assert paces == {pacing}


def test_the_lockstep_stack_waits_for_every_jacobian(tmp_path: Path) -> None:
    # A row that trained without one would make the run depend on time.
    parameters = stack.load("quadrotor_sim").node_parameters("learner", tmp_path)
    assert parameters["jacobian_timeout"] == 0.0


def test_whole_numbers_become_floats_where_a_node_declares_floats(tmp_path: Path) -> None:
    # ROS parameters do not convert: an integer for a declared double stops the node.
    loaded = stack.load(write(tmp_path, train={"updates_per_transition": 2}, nodes={"a": NODE}))
    value = loaded.node_parameters("a", tmp_path)["updates_per_transition"]
    assert isinstance(value, float)


def test_settings_without_a_value_are_not_sent(tmp_path: Path) -> None:
    # ROS has no parameter type for None.
    def leaves(value: object) -> list[object]:
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        return [value]

    loaded = stack.load(write(tmp_path, nodes={"a": NODE}))
    assert None not in leaves(loaded.node_parameters("a", tmp_path))


def test_override_reaches_settings_and_node_parameters(tmp_path: Path) -> None:
    file = write(tmp_path, nodes={"a": NODE})
    loaded = stack.load(file, ["train.seed=5", "nodes.a.parameters.x=0.5", "nodes.a.nice=3"])
    assert loaded.train.seed == 5
    assert loaded.nodes["a"].parameters == {"x": 0.5}
    assert loaded.nodes["a"].nice == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.sede=3", ["sede", "'seed'"]),
        ("nodes.brige.nice=3", ["brige", "'bridge'"]),
        ("nodes.bridge.respwan=true", ["respwan", "'respawn'"]),
        ("nodes.bridge.nice=99", ["nice", "99", "19"]),
        ("nodes.bridge.parameters.x=[1, a]", ["'x'", "[1, 'a']", "one type"]),
        ("nodes.bridge.executable=null", ["executable"]),
        ("tran=3", ["tran", "'train'"]),
        ("train.seed", ["key=value"]),
        ("train.seed.deep=1", ["seed is a value"]),
        ("nodes.bridge.nice=[", ["not a YAML value"]),
        ("nodes={}", ["nodes"]),
        ("nodes.my robot.executable=x", ["my robot"]),
        ("pacing=sometimes", ["pacing", "sometimes", "lockstep", "real_time"]),
        ("nodes.policy.parameters.pacing=real_time", ["nodes.policy", "pacing", "whole stack"]),
        ("nodes.policy.parameters.robots=a", ["nodes.policy", "robots", "whole stack"]),
        ("robots=[left]", ["left", "pacing: real_time", "lockstep"]),
    ],
)
def test_mistakes_are_named_with_what_is_allowed(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        stack.load("quadrotor_sim", ["train.seed=1", override])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_unknown_stack_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="quadrotor_sim"):
        stack.load("quadrotor_sin")


def test_missing_file_and_files_that_are_no_stack(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml does not exist"):
        stack.load(tmp_path / "nowhere.yaml")
    for text in ("- a\n", "nodes: [", "", "train: 3\nnodes: {a: {executable: b}}"):
        file = tmp_path / "bad.yaml"
        file.write_text(text)
        with pytest.raises(UserError, match=r"bad\.yaml"):
            stack.load(file)


def write_as(folder: Path, name: str, **content: object) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_a_stack_says_only_what_differs_from_its_base(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        base="quadrotor_sim",
        train={"seed": 4},
        nodes={"learner": {"nice": 9, "parameters": {"jacobian_timeout": 2.5}}},
    )
    mine, base = stack.load(file), stack.load("quadrotor_sim")
    assert (mine.name, mine.description) == ("mine", base.description)
    assert mine.train == base.train.model_copy(update={"seed": 4})
    learner = mine.nodes["learner"]
    assert (learner.nice, learner.parameters["jacobian_timeout"]) == (9, 2.5)
    assert (learner.executable, learner.respawn) == ("learner_node", True)
    assert {k: v for k, v in mine.nodes.items() if k != "learner"} == {
        k: v for k, v in base.nodes.items() if k != "learner"
    }


def test_a_base_may_have_a_base_and_lie_beside_the_file(tmp_path: Path) -> None:
    write_as(tmp_path, "lowest", train={"seed": 1, "batch_size": 32}, nodes={"a": NODE})
    (tmp_path / "deeper").mkdir()
    middle = {"base": "../lowest.yaml", "train": {"seed": 2}, "nodes": {"a": {"nice": 3}}}
    write_as(tmp_path / "deeper", "middle", **middle)
    top = write_as(tmp_path, "top", base="deeper/middle.yaml", nodes={"b": NODE})
    loaded = stack.load(top, ["train.seed=3"])
    assert (loaded.train.seed, loaded.train.batch_size) == (3, 32)
    assert (set(loaded.nodes), loaded.nodes["a"].nice) == ({"a", "b"}, 3)


def test_what_a_run_keeps_of_its_stack_needs_no_base(tmp_path: Path) -> None:
    file = write_as(tmp_path, "mine", base="quadrotor_sim", train={"seed": 4})
    text = stack.dump(stack.load(file))
    assert "base" not in yaml.safe_load(text)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("quadrotor_sin", "base: no stack is named 'quadrotor_sin'; did you mean 'quadrotor_sim'"),
        ("nowhere.yaml", "base: stack file .*nowhere.yaml does not exist"),
        (["quadrotor_sim"], r"base is \['quadrotor_sim'\]; it must be a stack's name or a file"),
        ("mine.yaml", r"each other's base: mine.yaml -> mine.yaml"),
        ("other.yaml", r"each other's base: mine.yaml -> other.yaml -> mine.yaml"),
    ],
)
def test_a_base_that_cannot_be_is_named_with_its_file(
    base: object, words: str, tmp_path: Path
) -> None:
    write_as(tmp_path, "other", base="mine.yaml")
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{words}"):
        stack.load(write(tmp_path, base=base))


@pytest.mark.parametrize("system", registry.names())
def test_every_system_has_a_stack_and_a_launch_file(system: str) -> None:
    name = f"{system}_sim"
    loaded = stack.load(name)
    assert (loaded.train.system, loaded.train.parameters) == (system, "real")
    assert loaded.train.transitions > loaded.train.warmup_transitions
    launch = (paths.LAUNCH / f"{name}.launch.py").read_text()
    assert f'describe("{name}")' in launch and f"config/{name}.yaml" in launch


def test_every_stack_has_a_launch_file_and_the_other_way_round() -> None:
    files = {file.name.removesuffix(".launch.py") for file in paths.LAUNCH.glob("*.launch.py")}
    assert files == set(paths.stack_names())


def test_a_gymnasium_task_is_a_setting_of_the_gym_stack() -> None:
    loaded = stack.load("gym_sim", ["train.system=gym:InvertedPendulum-v5"])
    assert loaded.train.system == "gym:InvertedPendulum-v5"


@pytest.mark.parametrize("name", ["quadrotor_hardware", "quadrotor_rehearsal"])
def test_on_hardware_nothing_starts_or_ends_by_itself(name: str, tmp_path: Path) -> None:
    loaded = stack.load(name)
    assert loaded.pacing == "real_time" and registry.get(loaded.train.system).delay == 1
    for node in loaded.nodes:
        given = loaded.node_parameters(node, tmp_path)
        assert not given.get("autostart", False) and not given.get("auto_rearm", False)
    assert not any(node.completes for node in loaded.nodes.values())
    assert loaded.node_parameters("learner", tmp_path)["stay"] is True
    assert loaded.train.warmup_transitions == 0  # no random actions


def test_the_robots_profiles_are_the_runs_workspace(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_bytes((paths.PROFILES / "quadrotor_odometry.yaml").read_bytes())
    overrides = [f"nodes.bridge.parameters.profile={mine}"]
    loaded = stack.load("quadrotor_rehearsal", overrides)
    assert loaded.node_parameters("learner", tmp_path)["workspace"] == str(mine)
    (tmp_path / "copy.yaml").write_text(stack.dump(loaded))
    assert stack.load(tmp_path / "copy.yaml") == loaded
    assert stack.load("two_quadrotors_rehearsal").train.workspace == "quadrotor_rehearsal"
    assert stack.load("quadrotor_sim").train.workspace is None
    other = stack.load("quadrotor_rehearsal", ["train.workspace=quadrotor_odometry"])
    assert other.train.workspace == "quadrotor_odometry"
    with pytest.raises(UserError, match=r"no profile is named 'quadrotor_rehersal'; did you mean"):
        stack.load("quadrotor_hardware", ["nodes.bridge.parameters.profile=quadrotor_rehersal"])


def test_a_stack_that_was_written_before_there_was_a_workspace_goes_on_without(
    tmp_path: Path,
) -> None:
    begun = stack.load("quadrotor_rehearsal")
    old = begun.model_copy(update={"train": begun.train.model_copy(update={"workspace": None})})
    (tmp_path / "stack.yaml").write_text(stack.dump(old))
    assert stack.load(tmp_path / "stack.yaml", complete=True).train.workspace is None
    assert stack.load(tmp_path / "stack.yaml").train.workspace == "quadrotor_rehearsal"


def test_a_setting_of_one_robot_is_not_the_others(tmp_path: Path) -> None:
    """They share a group in the file, by an alias of YAML."""
    overrides = [
        "nodes.robot_a/bridge.parameters.silent_periods=9",
        "nodes.robot_a/bridge.parameters.profile=quadrotor_odometry",
        "nodes.robot_b/policy.remappings.policy=another",
    ]
    loaded = stack.load("two_quadrotors_rehearsal", overrides)
    own, other = (loaded.nodes[f"robot_{k}/bridge"].parameters for k in "ab")
    assert (own["silent_periods"], other["silent_periods"]) == (9, 5)
    assert (own["profile"], other["profile"]) == ("quadrotor_odometry", "quadrotor_rehearsal")
    assert loaded.train.workspace == "quadrotor_odometry,quadrotor_rehearsal"
    assert loaded.nodes["robot_a/policy"].remappings["policy"] == "policy"


def test_a_node_that_knows_nothing_of_runs_gets_its_own_parameters_only(tmp_path: Path) -> None:
    node = {"executable": "fake_robot", "run_settings": False, "parameters": {"noise": 0.1}}
    loaded = stack.load(write(tmp_path, nodes={"robot": node, "bridge": NODE}))
    assert loaded.node_parameters("robot", tmp_path) == {"noise": 0.1, "use_sim_time": False}
    assert "seed" in loaded.node_parameters("bridge", tmp_path)


def test_every_stack_that_drives_something_records_it_and_goes_on_without() -> None:
    for name in paths.stack_names():
        nodes = stack.load(name).nodes
        drives = any(node.executable in ("bridge_node", "robot_bridge") for node in nodes.values())
        recorders = [node for node in nodes.values() if node.executable == "recorder"]
        assert len(recorders) == drives, name
        assert all(node.respawn and not node.required for node in recorders)


def test_names_of_a_node_in_a_namespace_below_the_stacks_resolve_as_in_ros(tmp_path: Path) -> None:
    remappings = {"policy": "policy", "act": "/elsewhere", "~/x": "~/y"}
    nodes = {"robot/bridge": {**NODE, "remappings": remappings}, "learner": NODE}
    loaded = stack.load(write(tmp_path, nodes=nodes))
    bridge, learner = (loaded.place(node, "/left/") for node in nodes)
    assert (bridge.namespace, bridge.name, bridge.path) == (
        "/left/robot", "bridge", "/left/robot/bridge"
    )  # fmt: skip
    assert bridge.remappings == {"policy": "/left/policy", "act": "/elsewhere", "~/x": "~/y"}
    names = {name: bridge.resolve(name) for name in ("policy", "/left/robot/act", "~/x", "odom")}
    assert names == {
        "policy": "/left/policy", "/left/robot/act": "/elsewhere",
        "~/x": "/left/robot/bridge/y", "odom": "/left/robot/odom",
    }  # fmt: skip
    assert (learner.namespace, learner.path) == ("/left", "/left/learner")
    assert loaded.place("learner").namespace == "/"


@pytest.mark.parametrize(
    ("robots", "words"),
    [(["a", "a"], "each name may come once"), (["a", "b"], "robot 'b' has no node.* b/bridge")],
)
def test_robots_without_a_name_or_a_bridge_of_their_own_are_refused(
    robots: list[str], words: str, tmp_path: Path
) -> None:
    file = write(tmp_path, pacing="real_time", robots=robots, nodes={"a/bridge": NODE})
    with pytest.raises(UserError, match=words):
        stack.load(file)


def test_every_node_of_a_stack_with_robots_knows_their_names(tmp_path: Path) -> None:
    loaded = stack.load("two_quadrotors")
    for node in loaded.nodes:
        assert loaded.node_parameters(node, tmp_path)["robots"] == "robot_a robot_b"
    assert "robots" not in stack.load("quadrotor_sim").node_parameters("bridge", tmp_path)


@pytest.mark.parametrize("name", ["quadrotor_hardware", "two_quadrotors_rehearsal"])
def test_robots_fine_tune_with_the_settings_of_the_command(name: str) -> None:
    train = nested.flat(stack.load(name).train.model_dump())
    for key, value in nested.flat(presets.finetuning()).items():
        assert train[key] == value, key
    assert train["learning_starts"] == configuration.TrainConfig().learning_starts
    assert train["model.synthetic_share"] == 0.5 and train["model.residual"] is True

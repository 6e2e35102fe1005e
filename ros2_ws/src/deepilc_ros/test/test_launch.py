"""The launch file, built with the real `launch` where it is installed."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch_ros is not installed (there is no wheel of it)")

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch_ros.actions import Node

from deepilc import stack
from deepilc.errors import UserError
from deepilc.paths import LAUNCH, stack_names
from deepilc_ros import launching
from launch import LaunchContext

DEFAULTS = {name: default for name, (default, _) in launching.ARGUMENTS.items()}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, str]:
    return {**DEFAULTS, "stack": "quadrotor_sim", "run": str(tmp_path / "run")}


def nodes_of(entities: list[object]) -> dict[str, Node]:
    nodes = [entity for entity in entities if isinstance(entity, Node)]
    for node in nodes:
        node._perform_substitutions(LaunchContext())
    return {node.node_name.lstrip("/"): node for node in nodes}


@pytest.mark.parametrize("name", stack_names())
def test_every_stack_has_a_launch_file_that_describes_its_arguments(name: str) -> None:
    file = LAUNCH / f"{name}.launch.py"
    description = get_launch_description_from_python_launch_file(str(file))
    declared = {a.name: a for a in description.entities if isinstance(a, DeclareLaunchArgument)}
    context = LaunchContext()
    default = declared["stack"].default_value
    assert "".join(part.perform(context) for part in default) == name
    assert {"namespace", "run", "resume", "log_level", "use_respawn", "use_sim_time"} <= set(
        declared
    )
    assert all(len(argument.description) > 20 for argument in declared.values())


@pytest.mark.parametrize("name", stack_names())
def test_it_starts_the_nodes_of_the_stack_file(arguments: dict[str, str], name: str) -> None:
    nodes = nodes_of(launching.actions({**arguments, "stack": name}))
    listed = stack.load(name).nodes
    assert set(nodes) == set(listed)
    for name, node in nodes.items():
        assert node.node_package == listed[name].package
        assert node.node_executable == listed[name].executable


def test_arguments_reach_stack_and_nodes(arguments: dict[str, str], tmp_path: Path) -> None:
    changes = {
        "namespace": "left",
        "seed": "5",
        "set": "train.transitions=70; nodes.learner.nice=9",
        "enclaves": "true",
    }
    nodes = nodes_of(launching.actions({**arguments, **changes}))
    assert all(name.startswith("left/") for name in nodes)
    words = [
        "".join(getattr(part, "text", "") for part in word) for word in nodes["left/learner"].cmd
    ]
    assert words[words.index("--enclave") + 1] == "/left/learner"
    written = stack.load(tmp_path / "run" / "stack.yaml")
    assert (written.train.seed, written.train.transitions) == (5, 70)
    assert written.nodes["learner"].nice == 9


def test_shortcut_of_a_launch_file_sets_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LAUNCH / "bag_replay.launch.py"
    description = get_launch_description_from_python_launch_file(str(file))
    (perform,) = [e for e in description.entities if isinstance(e, OpaqueFunction)]
    context = LaunchContext(argv=["bag:=runs/monday"])
    run = str(tmp_path / "run")
    given = {**DEFAULTS, "stack": "bag_replay", "run": run, "bag": "runs/monday"}
    context.launch_configurations.update(given)
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "deepilc_ros", file.name])
    perform.execute(context)
    written = stack.load(tmp_path / "run" / "stack.yaml")
    assert written.nodes["player"].parameters["bags"] == "runs/monday"


@pytest.mark.parametrize(
    ("argument", "value"),
    [("log_level", "loud"), ("use_respawn", "maybe"), ("seed", "x"), ("stack", "quadrotor_sin")],
)
def test_wrong_arguments_are_refused_before_a_run_folder_is_made(
    arguments: dict[str, str], argument: str, value: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=value):
        launching.actions({**arguments, argument: value})
    assert not (tmp_path / "run").exists()


def test_an_argument_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = LAUNCH / "quadrotor_sim.launch.py"
    description = get_launch_description_from_python_launch_file(str(file))
    (perform,) = [e for e in description.entities if isinstance(e, OpaqueFunction)]
    context = LaunchContext(argv=["launch-prefix:=nice", "sede:=3"])
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "deepilc_ros", file.name, "sede:=3"])
    with pytest.raises(UserError, match="'sede'; did you mean 'seed'"):
        perform.execute(context)


def test_a_profile_reaches_the_bridge_and_the_robot_that_is_not_real(
    arguments: dict[str, str], tmp_path: Path
) -> None:
    changes = {"stack": "quadrotor_rehearsal", "profile": "quadrotor_odometry"}
    launching.actions({**arguments, **changes})
    written = stack.load(tmp_path / "run" / "stack.yaml")
    for name in ("bridge", "fake_robot"):
        assert written.nodes[name].parameters["profile"] == "quadrotor_odometry"
    with pytest.raises(UserError, match="has no robot"):
        launching.actions({**arguments, "profile": "mine.yaml"})

"""The dry run: what is right passes, each wrong mapping is named, no command is published."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from deepilc import paths
from deepilc.cli.app import run
from deepilc_ros.qos import subscription_for

pytestmark = pytest.mark.ros


def changed(folder: Path, replace: dict[str, str], name: str = "cartpole_joint_states") -> str:
    """A shipped profile with other words; rates and ages suit a busy machine."""
    text = (paths.PROFILES / f"{name}.yaml").read_text()
    for old, new in replace.items():
        assert old in text
        text = text.replace(old, new)
    content = yaml.safe_load(text)
    for source in content["sources"].values():
        source.update({"max_age": 1.0, "rate": 20.0})
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def check(nodes: Any, profile: str, seconds: float = 6.0) -> tuple[int, str]:
    nodes.log("robot_check").unlink(missing_ok=True)
    nodes.start("robot_check", profile=profile, seconds=seconds)
    code = nodes.exit_code("robot_check")
    return code, " ".join(nodes.output("robot_check").split())


@pytest.fixture
def robot(nodes: Any, probe: Any) -> None:
    """A cartpole that publishes already."""
    nodes.start("fake_robot", profile="cartpole_joint_states")
    heard = probe.listen(JointState, "joint_states", subscription_for("sensor"))
    probe.until(lambda: heard, "the robot")


def test_a_robot_that_fits_is_usable_and_gets_no_command(
    robot: None, nodes: Any, probe: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = probe.listen(Float64MultiArray, "effort_controller/commands")
    profile = changed(tmp_path, {})
    code, said = check(nodes, profile, 8.0)
    assert code == 0, said
    for words in ("usable: everything comes", "position[pole]", "rad/s", "joint_states", "Hz"):
        assert words in said
    # and through the command line
    assert run(["robot", "check", profile, "--live", "8"]) == 0
    assert "usable: everything comes" in capfd.readouterr().out
    probe.spin(0.5)
    assert commands == []


def test_wrong_mappings_are_found_and_named(robot: None, nodes: Any, tmp_path: Path) -> None:
    for replace, words in (
        ({"[pole]": "[stick]", "[cart, pole]": "[cart, stick]"}, "no joint 'stick': there is pole"),
        ({"joint_states:": "joints:"}, "sensor_msgs/msg/JointState is published on /joint_states"),
        ({"x: [-2.5, 2.5]": "x: [20.0, 22.5]"}, "m is outside 20 .. 22.5"),
        (
            {"effort_controller/commands:": "efforts/commands:"},
            "efforts/commands: nobody listens to commands",
        ),
    ):
        code, said = check(nodes, changed(tmp_path, replace))
        assert code == 1, said
        assert words in said and "not usable" in said
    # Another type on the topic
    code, said = check(nodes, changed(tmp_path, {"imu/data:": "joint_states:"}, "quadrotor_imu"))
    assert code == 1, said
    words = "published as sensor_msgs/msg/JointState, but the profile says sensor_msgs/msg/Imu"
    assert f"joint_states: {words}" in said


@pytest.mark.parametrize(
    ("replace", "words"),
    [
        ({"field: velocity": "field: speed"}, "no field 'speed': JointState has header, name"),
        ({"sensor_msgs/msg/JointState": "robot_msgs/msg/Joints"}, "robot_msgs is not installed"),
        ({"sensor_msgs/msg/JointState": "sensor_msgs/msg/Joints"}, "has no msg 'Joints'"),
    ],
)
def test_a_profile_that_no_message_can_fit_is_refused_at_once(
    nodes: Any, tmp_path: Path, replace: dict[str, str], words: str
) -> None:
    code, said = check(nodes, changed(tmp_path, replace), 600.0)
    assert code == 2, said
    assert words in said


def test_a_silent_robot_is_not_usable(nodes: Any) -> None:
    code, said = check(nodes, "quadrotor_odometry", 2.0)
    assert code == 1
    assert "odom: nobody publishes it" in said and "never" in said

"""Entries of a profile one by one: units, indices, joints, quaternion orders, angles, commands."""

import math
import random
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("deepilc_px4_msgs", reason="needs the messages of ROS 2")

from deepilc_px4_msgs.msg import ActuatorMotors
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseArray, Quaternion, TwistStamped, Vector3
from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Float32, Float64MultiArray, Int16MultiArray

from deepilc.errors import UserError
from deepilc.robot import profile as profiles
from deepilc.robot.extraction import extractor
from deepilc.robot.fields import FieldError, getter, put, put_numbers
from deepilc.robot.interface import RobotInterface
from deepilc.robot.mapping import Attitude, Numbers, Vector
from sims import registry


def read(entry: Any, message: Any, world: str = "ENU", body: str = "FLU") -> tuple[float, ...]:
    return extractor(entry, world, body)(message)


def test_numbers_become_si_then_scaled_then_shifted() -> None:
    message = Float64MultiArray(data=[90.0, 7.0, 30.0])
    entry = Numbers(kind="numbers", states=("a", "b"), field="data", index=(2, 0), unit="rpm",
                    scale=(-1.0, 2.0), offset=(0.5, 0.0))  # fmt: skip
    np.testing.assert_allclose(read(entry, message), [0.5 - math.pi, 6.0 * math.pi])
    entry = Numbers(kind="numbers", states=("a",), field="data", unit="mm")
    assert read(entry, Float32(data=250.0)) == (0.25,)


@pytest.mark.parametrize(
    ("angle", "wrapped"), [(0.5, 0.5), (-0.5, 2 * math.pi - 0.5), (13.0, 13.0 - 4 * math.pi)]
)
def test_angles_are_wrapped_into_the_systems_turn(angle: float, wrapped: float) -> None:
    entry = Numbers(kind="numbers", states=("a",), field="data", wrap=0.0)
    assert read(entry, Float32(data=angle))[0] == pytest.approx(wrapped, abs=1e-6)
    entry = entry.model_copy(update={"wrap": -math.pi})
    found = read(entry, Float32(data=angle))[0]
    assert -math.pi <= found < math.pi
    assert math.cos(found) == pytest.approx(math.cos(angle), abs=1e-6)
    assert math.isnan(read(entry, Float32(data=math.inf))[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("world", "body"), [("ENU", "FLU"), ("NED", "FRD"), ("NED", "FLU")])
def test_attitudes_in_every_form_agree_with_scipy(seed: int, world: str, body: str) -> None:
    turn = Rotation.random(random_state=seed)
    x, y, z, w = turn.as_quat()
    to_world = {"ENU": np.eye(3), "NED": np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]])}[world]
    to_body = {"FLU": np.eye(3), "FRD": np.diag([1, -1, -1])}[body]
    wanted = to_world @ turn.as_matrix() @ to_body
    roll, pitch, yaw = turn.as_euler("xyz", degrees=True)

    def found(**keys: Any) -> Any:
        entry = Attitude(kind="attitude", states=(None,) * 3, **keys)
        return lambda message: Rotation.from_quat(
            np.roll(read(entry, message, world, body), -1)
        ).as_matrix()

    array = {"field": "data"}
    for form, message in (
        (found(field="pose.pose.orientation"), Odometry()),
        (found(order="xyzw", **array), Float64MultiArray(data=[x, y, z, w])),
        (found(order="wxyz", **array), Float64MultiArray(data=[-w, -x, -y, -z])),
        (found(given="euler", unit="deg", **array), Float64MultiArray(data=[roll, pitch, yaw])),
        (found(given="euler", field="vector"), type("Rpy", (), {})()),
    ):
        if isinstance(message, Odometry):
            message.pose.pose.orientation = Quaternion(x=x, y=y, z=z, w=w)
        elif not isinstance(message, Float64MultiArray):
            angles = np.radians([roll, pitch, yaw])
            message.vector = Vector3(x=angles[0], y=angles[1], z=angles[2])
        np.testing.assert_allclose(form(message), wanted, atol=1e-7)


def test_a_quaternion_in_an_array_needs_an_order() -> None:
    entry = Attitude(kind="attitude", states=(None,) * 3, field="data")
    with pytest.raises(FieldError, match="an array needs order: xyzw or wxyz"):
        read(entry, Float64MultiArray(data=[0.0, 0.0, 0.0, 1.0]))


def test_elements_of_lists_are_reached_by_index() -> None:
    message = PoseArray()
    entry = Vector(kind="vector", states=("x", None, "z"), field="poses[1].position", frame="world")
    with pytest.raises(FieldError, match=r"no element 'poses\[1\].position': 0 elements"):
        read(entry, message)
    message.poses = [Odometry().pose.pose for _ in range(2)]
    message.poses[1].position.z = 3.0
    assert read(entry, message) == (0.0, 0.0, 3.0)


def test_commands_of_other_types() -> None:
    motors = ActuatorMotors()
    with pytest.raises(FieldError, match="has 12 elements, not 13"):
        put_numbers(motors, "control", [1.0], [12])
    twist = TwistStamped()
    put_numbers(twist, "twist.linear.x", [0.5])
    assert twist.twist.linear.x == 0.5
    whole = Int16MultiArray()
    put_numbers(whole, "data", [1499.6, -3.2], [0, 2])
    assert list(whole.data) == [1500, 0, -3]
    joints = JointState()
    put(joints, "name", ["a", "b"])
    put(joints, "position", [1, 2])
    put_numbers(joints, "effort", [3.0], [1], math.nan)
    assert joints.name == ["a", "b"] and list(joints.position) == [1.0, 2.0]
    assert math.isnan(joints.effort[0]) and joints.effort[1] == 3.0
    with pytest.raises(FieldError, match="does not take"):
        put(joints, "name", [1.0])
    with pytest.raises(FieldError, match=r"no field 'twist.linear.w': Vector3 has x, y, z"):
        getter("twist.linear.w")(twist)


def test_a_command_whose_numbers_do_not_hold_all_actions_is_refused_before_anything_moves() -> None:
    content = profiles.load("quadrotor_odometry").model_dump()
    (command,) = content["commands"].values()
    command["type"] = "std_msgs/msg/Int16MultiArray"
    for scale, fits in ((1000.0, True), (2000.0, False)):  # 18.3 at most, 14.5 is safe
        command["action"][0]["scale"] = scale
        robot = RobotInterface(
            profiles.Profile.model_validate(content), registry.get("rexquadrotor")
        )
        if fits:
            robot.check("rotor_controller/commands", Int16MultiArray())
        else:
            with pytest.raises(UserError, match="rotor_controller/commands: "):
                robot.check("rotor_controller/commands", Int16MultiArray())


def test_stamps_of_commands_are_filled() -> None:
    content = profiles.load("cartpole_joint_states").model_dump()
    (command,) = content["commands"].values()
    command.update(type="geometry_msgs/msg/TwistStamped", stamp="header")
    command["action"] = [{"actions": ["force"], "field": "twist.linear.x", "unit": "cm"}]
    command["constants"] = {"header.frame_id": "rail"}
    robot = RobotInterface(profiles.Profile.model_validate(content), registry.get("cartpole"))
    message = TwistStamped()
    robot.fill(np.array([3.0]), "effort_controller/commands", message, 1_700_000_000.25)
    assert message.twist.linear.x == pytest.approx(300.0)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 250_000_000)
    assert message.header.frame_id == "rail"


def test_whatever_comes_nothing_is_raised_and_nothing_bad_is_taken_for_good() -> None:
    """Random values in random fields, and messages of other types."""
    rng = random.Random(0)
    robots = [
        RobotInterface(p, registry.get(p.system)) for p in map(profiles.load, profiles.names())
    ]
    values = [0.0, math.nan, math.inf, -1e300, 10**400, None, "text", [], [1.0], {}, object()]

    class Anything:
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") or rng.random() < 0.1:
                raise AttributeError(name)
            return rng.choice([*values, Anything(), Anything()])

    others = [Odometry, JointState, Joy, ActuatorMotors, DiagnosticStatus, Float64MultiArray]
    for i in range(3000):
        robot = rng.choice(robots)
        topic = rng.choice(robot.subscriptions).topic
        message = Anything() if rng.random() < 0.7 else rng.choice(others)()
        robot.receive(topic, message, 0.001 * i, rng.choice([0.001 * i, math.nan, 1e9, math.inf]))
        reading, human = robot.reading(0.001 * i), robot.human(0.001 * i)
        assert reading.problems or np.isfinite(reading.state).all()
        assert human is None or np.isfinite(human).all() or np.isnan(human).all()
    assert sum(sum(robot.counters.values()) for robot in robots) > 1000

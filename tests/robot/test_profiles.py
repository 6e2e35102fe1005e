"""The shipped profiles with generated messages: states and actions survive both directions."""

import importlib
import math

import numpy as np
import pytest

pytest.importorskip("deepilc_px4_msgs", reason="needs the messages of ROS 2")

from deepilc_px4_msgs.msg import ActuatorMotors, VehicleOdometry
from sensor_msgs.msg import Imu, JointState, Joy
from std_msgs.msg import Float64MultiArray

from deepilc.robot import inverse
from deepilc.robot import profile as profiles
from deepilc.robot.interface import RobotInterface
from sims import registry
from tests.robot.messages import stamp

CLOCK = 1_700_000_000.0


def message(name: str):
    package, kind, what = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), what)()


def shipped(name: str) -> RobotInterface:
    profile = profiles.load(name)
    return RobotInterface(profile, registry.get(profile.system))


@pytest.mark.parametrize("name", profiles.names())
def test_states_survive_the_way_through_messages(name: str) -> None:
    """With scipy's rotations on the way there, and our own on the way back."""
    robot = shipped(name)
    profile, system = robot.profile, registry.get(robot.profile.system)
    states = system.reset(np.random.default_rng(3), "real", 200)
    for i, state in enumerate(states):
        now = 10.0 + 0.005 * i
        for topic, source in profile.sources.items():
            made = message(source.type)
            robot.check(topic, made)
            inverse.write_source(profile, source, system, state, CLOCK + now - 0.001, made)
            robot.receive(topic, made, now, CLOCK + now)
        reading = robot.reading(now)
        np.testing.assert_allclose(
            system.align(reading.state, state), state, atol=2e-5, err_msg=f"row {i}"
        )
        assert reading.age == pytest.approx(0.001, abs=2e-6)
    assert reading.problems == ()
    assert not robot.counters


@pytest.mark.parametrize("name", profiles.names())
def test_actions_survive_the_way_through_commands(name: str) -> None:
    robot = shipped(name)
    system = registry.get(robot.profile.system)
    action = np.linspace(0.1, 0.9, system.action.size) * (system.action.high - system.action.low)
    action += system.action.low
    back = np.full(system.action.size, np.nan)
    back[:] = system.safe_action
    for publication in robot.publications:
        made = message(publication.type)
        robot.check(publication.topic, made)
        robot.fill(action, publication.topic, made, CLOCK)
        inverse.read_command(robot.profile.commands[publication.topic], system, made, back)
    np.testing.assert_allclose(back, action, atol=1e-5)


def test_px4_north_east_down_becomes_east_north_up() -> None:
    """A vehicle that looks north, climbs at 2 m/s and flies east at 3 m/s; numbers by hand."""
    robot = shipped("quadrotor_px4")
    odometry = VehicleOdometry(
        timestamp_sample=int(1e6 * CLOCK), pose_frame=1, velocity_frame=1,
        position=[1.0, 2.0, -3.0], q=[1.0, 0.0, 0.0, 0.0], velocity=[0.0, 3.0, -2.0],
        angular_velocity=[0.1, 0.2, 0.3],
    )  # fmt: skip
    robot.receive("fmu/out/vehicle_odometry", odometry, 5.0, CLOCK + 0.01)
    state = robot.reading(5.0).state
    np.testing.assert_allclose(state[:3], [2.0, 1.0, 3.0])
    # x of the body points north, which is y in ENU: a quarter turn to the left about z
    np.testing.assert_allclose(state[3:6], [0.0, 0.0, math.tan(math.pi / 8)], atol=1e-7)
    np.testing.assert_allclose(state[6:9], [0.0, -3.0, 2.0], atol=1e-6)  # east is to its right
    np.testing.assert_allclose(state[9:], [0.1, -0.2, -0.3], atol=1e-7)
    assert robot.reading(5.0).age == pytest.approx(0.01, abs=1e-6)


def test_px4_motors_are_in_its_order_with_nan_for_those_that_are_not_there() -> None:
    robot = shipped("quadrotor_px4")
    motors = ActuatorMotors()
    robot.fill(np.array([12.0, 13.0, 14.0, 15.0]), "fmu/in/actuator_motors", motors, CLOCK)
    np.testing.assert_allclose(motors.control[:4], [0.3, 0.5, 0.2, 0.4], atol=1e-6)
    assert np.isnan(motors.control[4:]).all()
    assert motors.timestamp == int(1e6 * CLOCK)


def test_px4_odometry_in_another_frame_is_refused() -> None:
    robot = shipped("quadrotor_px4")
    odometry = VehicleOdometry(timestamp_sample=int(1e6 * CLOCK), pose_frame=2, velocity_frame=1)
    robot.receive("fmu/out/vehicle_odometry", odometry, 5.0, CLOCK)
    reading = robot.reading(5.0)
    assert "pose_frame is 2, expected 1" in reading.problems[0] and reading.age == math.inf


def test_px4_unknown_estimates_are_not_finite() -> None:
    robot = shipped("quadrotor_px4")
    odometry = VehicleOdometry(
        timestamp_sample=int(1e6 * CLOCK), pose_frame=1, velocity_frame=1,
        position=[0.0] * 3, q=[math.nan] * 4, velocity=[0.0] * 3, angular_velocity=[0.0] * 3,
    )  # fmt: skip
    robot.receive("fmu/out/vehicle_odometry", odometry, 5.0, CLOCK)
    problems = robot.reading(5.0).problems
    assert {"p1 is not finite", "vx is not finite"} <= set(problems)


def joints(names: list[str], position: list[float], velocity: list[float]) -> JointState:
    made = JointState(name=names, position=position, velocity=velocity)
    made.header.stamp = stamp(CLOCK)
    return made


def test_joints_are_found_by_name_in_any_order_and_among_others() -> None:
    robot = shipped("cartpole_joint_states")
    made = joints(["gripper", "pole", "cart"], [9.0, -0.5, 0.25], [9.0, 2.0, 1.0])
    robot.receive("joint_states", made, 1.0, CLOCK)
    np.testing.assert_allclose(
        robot.reading(1.0).state, [0.25, 2.0 * math.pi - 0.5, 1.0, 2.0], rtol=1e-6
    )


def test_a_missing_joint_is_named_with_those_that_are_there() -> None:
    robot = shipped("cartpole_joint_states")
    robot.receive("joint_states", joints(["cart", "stick"], [0.0, 0.0], [0.0, 0.0]), 1.0, CLOCK)
    assert "no joint 'pole': there is cart, stick" in " ".join(robot.reading(1.0).problems)


def test_joints_may_come_in_messages_of_their_own() -> None:
    robot = shipped("cartpole_joint_states")
    for i in range(20):
        robot.receive("joint_states", joints(["other"], [1.0], [1.0]), 1.0 + 0.005 * i, CLOCK)
    robot.receive("joint_states", joints(["cart", "pole"], [0.1, 3.0], [0.2, 0.3]), 1.1, CLOCK)
    reading = robot.reading(1.1)
    np.testing.assert_allclose(reading.state, [0.1, 3.0, 0.2, 0.3], rtol=1e-6)
    assert reading.problems == ()


def test_a_driver_without_velocities_is_named() -> None:
    robot = shipped("cartpole_joint_states")
    robot.receive("joint_states", joints(["cart", "pole"], [0.1, 3.0], []), 1.0, CLOCK)
    reading = robot.reading(1.0)
    assert "field 'velocity' has 0 elements" in " ".join(reading.problems)
    assert np.isnan(reading.state[2:]).all() and reading.age == math.inf


def test_two_topics_have_ages_of_their_own() -> None:
    robot = shipped("quadrotor_imu")
    imu = Imu()
    imu.header.stamp, imu.header.frame_id = stamp(CLOCK), "imu_link"
    robot.receive("imu/data", imu, 1.0, CLOCK)
    reading = robot.reading(1.0)
    assert reading.age == math.inf and reading.problems == ("mocap/odom: nothing has come",)
    np.testing.assert_allclose(reading.state[3:6], 0.0)
    assert np.isnan(reading.state[[0, 6]]).all()
    ages = robot.ages(1.01)
    assert ages[3] == pytest.approx(0.01, abs=1e-6) and ages[0] == math.inf


def test_beyond_half_a_turn_noise_does_not_change_the_sheet() -> None:
    robot = shipped("quadrotor_imu")
    found = []
    for i, degrees in enumerate((170, 178, 182, 179, 183, 188, 200)):
        half = math.radians(degrees) / 2
        sign = 1.0 if i % 2 else -1.0  # drivers may send q or -q
        imu = Imu()
        imu.header.stamp, imu.header.frame_id = stamp(CLOCK + 0.01 * i), "imu_link"
        imu.orientation.x, imu.orientation.w = sign * math.sin(half), sign * math.cos(half)
        robot.receive("imu/data", imu, 1.0 + 0.01 * i, CLOCK + 0.01 * i)
        found.append(float(robot.reading(1.0 + 0.01 * i).state[3]))
    wanted = [math.tan(math.radians(d) / 4) for d in (170, 178, 182, 179, 183, 188, 200 - 360)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_takeover_by_topic_reads_actions_and_ends_with_its_messages() -> None:
    robot = shipped("quadrotor_imu")
    assert robot.human(0.0) is None
    robot.receive("pilot/commands", Float64MultiArray(data=[12.0, 13.0, 14.0, 15.0]), 1.0)
    np.testing.assert_array_equal(robot.human(1.2), np.float32([12.0, 13.0, 14.0, 15.0]))
    assert robot.human(1.31) is None
    for data in ([12.0], [12.0, 13.0, 14.0, math.nan]):
        robot.receive("pilot/commands", Float64MultiArray(data=data), 2.0)
        assert np.isnan(robot.human(2.0)).all()  # it overrides, but nobody knows by what
    assert sum(robot.counters.values()) == 2


def test_an_imu_without_orientation_is_not_taken_for_a_level_robot() -> None:
    robot = shipped("quadrotor_imu")
    imu = Imu()
    imu.header.frame_id, imu.orientation.w = "imu_link", 1.0
    attitude = [robot.system.state.names.index(name) for name in ("p1", "p2", "p3")]
    for i, (covariance, known) in enumerate(((0.0, True), (-1.0, False), (0.01, True))):
        now = 1.0 + 0.01 * i
        imu.orientation_covariance[0] = covariance
        imu.header.stamp = stamp(CLOCK + now)
        robot.receive("imu/data", imu, now, CLOCK + now)
        reading = robot.reading(now)
        assert np.isfinite(reading.state[attitude]).all() == known
        assert any("p1 is not finite" in problem for problem in reading.problems) != known
    imu.angular_velocity_covariance[0] = -1.0
    imu.header.stamp = stamp(CLOCK + 1.03)
    robot.receive("imu/data", imu, 1.03, CLOCK + 1.03)
    assert np.isnan(robot.reading(1.03).state[-3:]).all()


def test_takeover_by_joystick_while_the_button_is_held() -> None:
    robot = shipped("quadrotor_odometry")
    axes, held = [0.0, 1.0, 0.0, 0.5, -0.02], [0, 0, 0, 0, 0, 1]

    def joy(now: float, axes: list[float], buttons: list[int]) -> np.ndarray | None:
        robot.receive("joy", Joy(axes=axes, buttons=buttons), now)
        return robot.human(now)

    # full thrust is 3 above neutral; half roll to the left takes from the left; 0.02 is no input
    np.testing.assert_allclose(joy(1.0, axes, held), [15.85, 16.15, 16.15, 15.85], rtol=1e-6)
    assert np.isfinite(robot.human(1.29)).all() and robot.takeover_fault(1.29) == ""
    assert joy(2.0, axes, [0] * 6) is None
    assert np.isnan(joy(3.0, [0.0], held)).all()  # another device has too few axes
    assert robot.takeover_fault(3.0) == "no axis 1: there are 1"
    assert np.isnan(joy(4.0, [math.nan] * 5, held)).all()
    assert joy(4.5, axes, [0] * 6) is None
    assert joy(5.0, axes, [0]) is None  # nobody knows whether the button is held; it was not
    assert robot.takeover_fault(5.0) == "no button 5: there are 1"
    assert joy(6.0, axes, [0] * 6) is None and robot.takeover_fault(9.0) == ""
    assert robot.counters == {
        "joy: takeover not usable: no axis 1: there are 1": 1,
        "joy: takeover not usable: a command is not finite": 1,
        "joy: takeover not usable: no button 5: there are 1": 1,
    }


def test_a_message_without_the_switch_does_not_give_a_held_robot_back() -> None:
    robot = shipped("quadrotor_odometry")
    robot.receive("joy", Joy(axes=[0.0] * 5, buttons=[0, 0, 0, 0, 0, 1]), 1.0)
    for now in (1.1, 1.2):
        robot.receive("joy", Joy(axes=[], buttons=[]), now)
        assert np.isnan(robot.human(now)).all()
        assert robot.takeover_fault(now) == "no button 5: there are 0"
    assert "link is lost" in robot.takeover_fault(9.0) and np.isnan(robot.human(9.0)).all()
    robot.receive("joy", Joy(axes=[0.0] * 5, buttons=[0] * 6), 10.0)
    assert robot.human(10.0) is None and robot.takeover_fault(10.0) == ""


def test_a_joystick_that_falls_silent_while_held_does_not_give_the_robot_back() -> None:
    robot = shipped("quadrotor_odometry")
    robot.receive("joy", Joy(axes=[0.0] * 5, buttons=[0, 0, 0, 0, 0, 1]), 1.0)
    for now in (1.31, 60.0):
        assert np.isnan(robot.human(now)).all()
        assert "while the switch was held: the link is lost" in robot.takeover_fault(now)
    robot.receive("joy", Joy(axes=[0.0] * 5, buttons=[0] * 6), 61.0)
    assert robot.human(90.0) is None and robot.takeover_fault(90.0) == ""


def test_takeover_by_a_switch_of_a_radio() -> None:
    content = profiles.load("cartpole_joint_states").model_dump()
    content["takeover"]["active"] = {"axis": 4, "below": -0.5}
    robot = RobotInterface(profiles.Profile.model_validate(content), registry.get("cartpole"))
    robot.receive("joy", Joy(axes=[-1.0, 0.0, 0.0, 0.0, -1.0]), 1.0)
    np.testing.assert_array_equal(robot.human(1.0), [20.0])
    robot.receive("joy", Joy(axes=[-1.0, 0.0, 0.0, 0.0, math.nan]), 1.05)
    assert np.isnan(robot.human(1.05)).all(), "held before, and nobody says released"
    assert robot.takeover_fault(1.05) == "axis 4, the switch, is not finite"
    robot.receive("joy", Joy(axes=[-1.0, 0.0, 0.0, 0.0, 1.0]), 1.1)
    assert robot.human(1.1) is None

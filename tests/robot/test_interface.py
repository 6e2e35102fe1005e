"""Messages to states: order, age, missing and bad numbers, and what is said about each."""

import numpy as np
import pytest

pytest.importorskip("nav_msgs", reason="needs the messages of ROS 2")

from nav_msgs.msg import Odometry
from std_msgs.msg import Float64MultiArray

from deepilc.errors import UserError
from deepilc.robot import profile as profiles
from deepilc.robot.interface import Publication, RobotInterface, Subscription
from sims import registry
from tests.robot.messages import odometry

SYSTEM = registry.get("rexquadrotor")
CLOCK = 1_700_000_000.0  # ROS time at steady time 0


def interface(**changes) -> RobotInterface:
    content = profiles.load("quadrotor_odometry").model_dump()
    source = content["sources"]["odom"]
    source.update({key: changes.pop(key) for key in list(changes) if key in source})
    return RobotInterface(profiles.Profile.model_validate({**content, **changes}), SYSTEM)


def give(robot: RobotInterface, now: float, late: float = 0.002, **values) -> None:
    """An odometry message that arrives at `now` and was stamped `late` s before."""
    robot.receive("odom", odometry(CLOCK + now - late, **values), now, CLOCK + now)


def stream(robot: RobotInterface, begin: float, count: int = 20, rate: float = 100.0) -> float:
    """Messages that move a little; returns the time of the last."""
    for i in range(count):
        now = begin + i / rate
        give(robot, now, position=(0.01 * i, 0.0, 0.0))
    return now


def test_topics_of_the_profile_and_its_takeover() -> None:
    robot = interface()
    assert robot.subscriptions == (
        Subscription("odom", "nav_msgs/msg/Odometry", "sensor"),
        Subscription("joy", "sensor_msgs/msg/Joy", "sensor"),
    )
    motors = Publication("rotor_controller/commands", "std_msgs/msg/Float64MultiArray")
    assert robot.publications == (motors,)


def test_before_the_first_message_everything_is_unknown() -> None:
    reading = interface().reading(5.0)
    assert np.isnan(reading.state).all() and reading.age == np.inf
    assert reading.problems == ("odom: nothing has come",)


def test_a_good_stream_has_no_problems_and_the_age_of_its_stamps() -> None:
    robot = interface()
    last = stream(robot, 10.0)
    reading = robot.reading(last + 0.003)
    assert reading.problems == ()
    assert reading.age == pytest.approx(0.005, abs=1e-6)
    assert reading.state.dtype == np.float32
    np.testing.assert_allclose(reading.state[:3], [0.19, 0.0, 0.0], atol=1e-6)


def test_without_ros_time_age_counts_from_arrival() -> None:
    robot = interface()
    for i in range(20):
        message = odometry(5.0 + 0.01 * i, position=(0.01 * i, 0.0, 0.0))
        robot.receive("odom", message, 10.0 + 0.01 * i)
    reading = robot.reading(10.19 + 0.02)
    assert reading.age == pytest.approx(0.02, abs=1e-6) and reading.problems == ()


def test_silence_becomes_stale() -> None:
    robot = interface()
    last = stream(robot, 10.0)
    assert robot.reading(last + 0.09).problems == ()
    reading = robot.reading(last + 0.2)
    assert reading.problems == ("odom: stale, 0.202 s old (limit 0.1)",)
    assert np.isfinite(reading.state).all()


def test_delay_on_the_way_counts_as_age() -> None:
    robot = interface()
    for i in range(20):
        give(robot, 10.0 + 0.01 * i, late=0.3, position=(0.01 * i, 0.0, 0.0))
    assert "stale, 0.300 s old" in robot.reading(10.19).problems[0]


def test_reordered_messages_are_dropped_and_counted() -> None:
    robot = interface()
    last = stream(robot, 10.0)
    give(robot, last + 0.001, late=0.05, position=(7.0, 0.0, 0.0))
    assert robot.reading(last + 0.001).state[0] == pytest.approx(0.19)
    assert robot.counters == {"odom: messages reordered": 1}


def test_a_jump_of_the_robots_clock_back_is_said_and_not_taken_for_reordering() -> None:
    robot = interface()
    last = stream(robot, 10.0)
    for i in range(5):
        give(robot, last + 0.01 * i, late=20.0, position=(0.3, 0.01 * i, 0.0))
    problems = robot.reading(last + 0.04).problems
    assert any("the time stamps jumped by -19.9" in each for each in problems)
    assert any("stale, 20.0" in each for each in problems)
    assert robot.counters["odom: messages after a time jump"] == 1
    give(robot, last + 0.05)  # and back again
    assert robot.reading(last + 0.2).problems[0].startswith("odom: stale")


def test_a_clock_that_is_ahead_is_said() -> None:
    robot = interface()
    last = stream(robot, 10.0)
    give(robot, last + 0.01, late=-5.0)  # one such message does no harm
    assert robot.reading(last + 0.02).problems == ()
    for i in range(20):
        give(robot, last + 0.02 + 0.01 * i, late=-5.0)
    (problem,) = robot.reading(last + 0.22).problems
    assert problem.startswith("odom: stale, 0.222 s old")
    assert problem.endswith("the stamp is 5.000 s ahead of this clock")
    assert robot.counters == {"odom: messages stamped ahead of this clock": 21}


def test_a_jump_of_ros_time_is_said() -> None:
    robot = interface()
    last = stream(robot, 10.0)
    now = last + 0.01
    robot.receive("odom", odometry(CLOCK + 30.0 + now), now, CLOCK + 30.0 + now)
    assert "ROS time jumped by +30.000 s" in robot.reading(now).problems
    assert robot.counters["jumps of ROS time"] == 1


def test_empty_stamps_are_refused_with_what_to_do() -> None:
    robot = interface()
    for i in range(5):
        robot.receive("odom", odometry(0.0), 1.0 + 0.01 * i, CLOCK)
    assert "stamp: arrival" in robot.reading(1.05).problems[0]
    robot = interface(stamp="arrival", rate=None)
    robot.receive("odom", odometry(0.0), 1.0, CLOCK)
    assert robot.reading(1.05).problems == ()


def test_a_slow_topic_is_said() -> None:
    robot = interface(max_age=1.0)
    last = stream(robot, 10.0, count=30, rate=40.0)
    assert robot.reading(last).problems == ("odom: 40.0 Hz instead of 100",)


def test_a_stuck_sensor_is_said() -> None:
    robot = interface()
    for i in range(150):
        give(robot, 10.0 + 0.01 * i, position=(1.0, 2.0, 3.0))
    assert robot.reading(11.49).problems == ("odom: stuck, the same numbers for 1.49 s",)
    give(robot, 11.5, position=(1.0, 2.0, 3.001))
    assert robot.reading(11.5).problems == ()


def test_out_of_bounds_and_not_finite_name_the_state() -> None:
    robot = interface(rate=None)
    give(robot, 10.0, position=(11.0, 0.0, float("nan")))
    assert robot.reading(10.0).problems == (
        "z is not finite",
        "x = 11 m is outside -10 .. 10",
    )
    give(robot, 10.01, orientation=(0.0, 0.0, 0.0, 0.0))
    reading = robot.reading(10.01)
    assert np.isnan(reading.state[3:6]).all()
    assert "p1 is not finite" in reading.problems


def test_too_much_tilt_is_said() -> None:
    robot = interface(rate=None, max_tilt=0.5)
    give(robot, 10.0, orientation=(np.sin(0.3), 0.0, 0.0, np.cos(0.3)))  # x y z w, 0.6 rad
    assert robot.reading(10.0).problems == ("tilt = 0.6 rad is above 0.5",)


def test_unexpected_frames_are_dropped_and_named() -> None:
    robot = interface(expect={"child_frame_id": "base_link"}, rate=None)
    give(robot, 10.0, child="camera")
    (problem,) = robot.reading(10.0).problems
    assert "child_frame_id is 'camera', expected 'base_link'" in problem
    give(robot, 10.01, child="base_link")
    assert robot.reading(10.01).problems == ()


def test_actions_become_commands() -> None:
    robot = interface()
    message = Float64MultiArray()
    robot.fill(np.array([12.0, 13.0, 14.0, 15.0]), "rotor_controller/commands", message)
    assert list(message.data) == [12.0, 13.0, 14.0, 15.0]
    with pytest.raises(UserError, match="no command of the profile"):
        robot.fill(np.zeros(4), "elsewhere", message)


def test_wrong_fields_are_found_with_an_empty_message() -> None:
    content = profiles.load("quadrotor_odometry").model_dump()
    content["sources"]["odom"]["state"][0]["field"] = "pose.position"
    robot = RobotInterface(profiles.Profile.model_validate(content), SYSTEM)
    with pytest.raises(UserError, match=r"no field 'pose.position': PoseWithCovariance has pose"):
        robot.check("odom", Odometry())
    interface().check("odom", Odometry())
    interface().check("rotor_controller/commands", Float64MultiArray())

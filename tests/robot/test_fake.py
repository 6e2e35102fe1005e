"""The fake robot: it flies as the system does, and each fault does what it says."""

import importlib

import numpy as np
import pytest

pytest.importorskip("nav_msgs", reason="needs the messages of ROS 2")

from nav_msgs.msg import Odometry
from std_msgs.msg import Float64MultiArray

from deepilc.errors import UserError
from deepilc.robot import profile as profiles
from deepilc.robot.fake import FakeRobot, Faults, goto_target
from deepilc.robot.fields import seconds
from deepilc.robot.interface import RobotInterface
from sims import registry

SYSTEM = registry.get("rexquadrotor")
PROFILE = profiles.load("quadrotor_odometry")
COMMAND = "rotor_controller/commands"
HOVER = np.full(4, SYSTEM.parameters("real").hover_action)


def robot(seed: int = 1, **faults) -> FakeRobot:
    return FakeRobot(PROFILE, SYSTEM, seed=seed, faults=Faults(**faults))


def ask(fake: FakeRobot, action: np.ndarray, now: float) -> None:
    fake.command(COMMAND, Float64MultiArray(data=[float(each) for each in action]), now)


def run(fake: FakeRobot, begin: float, end: float, step: float = 0.005) -> list:
    """All measurements that are due in a stretch of time."""
    return [m for now in np.arange(begin, end, step) for m in fake.advance(float(now))]


def test_it_is_held_until_the_first_command_and_then_flies_as_the_system_does() -> None:
    fake = robot()
    start = fake.truth.copy()
    assert len(run(fake, 10.0, 10.5)) == pytest.approx(50, abs=1)
    np.testing.assert_array_equal(fake.truth, start)
    assert fake.held
    action = HOVER + np.array([0.1, -0.1, 0.05, 0.0])
    ask(fake, action, 10.5)
    run(fake, 10.5, 11.5 + 0.001)
    world = SYSTEM.simulation("real")
    world.begin(0, start)
    for _ in range(20):
        wanted = world.step(action[None].astype(np.float32))[0]
    assert not fake.held
    np.testing.assert_allclose(fake.truth, wanted, atol=5e-2)  # a step of 5 ms at either end
    assert np.abs(wanted - start).max() > 0.5


def test_the_same_seed_gives_the_same_robot() -> None:
    faults = {"noise": 0.01, "drop": 0.2, "reorder": 0.1, "jitter": 0.003}

    def record(seed: int) -> list:
        fake = robot(seed, **faults)
        run(fake, 0.0, 0.2)
        ask(fake, HOVER, 0.2)
        return [(m.due, *m.state.tolist()) for m in run(fake, 0.2, 1.0)]

    assert record(5) == record(5)
    assert record(5) != record(6)


def test_latency_and_jitter_delay_what_is_published() -> None:
    fake = robot(latency=0.1, jitter=0.01)
    waits = [m.due - m.measured for m in run(fake, 0.0, 3.0)]
    assert min(waits) >= 0.1 and 0.104 < np.mean(waits) < 0.112


def test_dropped_and_reordered_messages_come_to_the_interface_as_such() -> None:
    fake, interface = robot(drop=0.3, reorder=0.2, noise=0.001), RobotInterface(PROFILE, SYSTEM)
    measurements = run(fake, 0.0, 5.0)
    assert 0.65 * 500 < len(measurements) < 0.75 * 500
    for m in measurements:
        message = Odometry()
        fake.write(m, message, 1e9)
        interface.receive("odom", message, m.due, 1e9 + m.due)
    assert 50 < interface.counters["odom: messages reordered"] < 100
    assert "odom: messages after a time jump" not in interface.counters


def test_motors_lag_and_commands_take_their_time() -> None:
    fake = robot(motor_lag=0.1, command_latency=0.05)
    run(fake, 0.0, 0.1)
    before = fake.applied.copy()
    ask(fake, before + 1.0, 0.1)
    run(fake, 0.1, 0.145)
    np.testing.assert_array_equal(fake.applied, before)
    run(fake, 0.145, 0.2501)
    np.testing.assert_allclose(fake.applied - before, 1.0 - np.exp(-1.0), atol=0.05)


def test_a_stuck_sensor_repeats_its_numbers_with_new_stamps() -> None:
    fake = robot(noise=0.01)
    run(fake, 0.0, 0.1)
    fake.faults = Faults(noise=0.01, stuck=True)
    stuck = run(fake, 0.1, 0.3)
    assert len({m.state.tobytes() for m in stuck}) == 1
    assert len({m.measured for m in stuck}) == len(stuck)
    fake.faults = Faults(noise=0.01)
    assert len({m.state.tobytes() for m in run(fake, 0.3, 0.4)}) > 5


def test_a_jump_of_stamps_is_in_the_messages() -> None:
    fake = robot(stamp_offset=-20.0)
    (first, *_) = run(fake, 0.0, 0.1)
    message = Odometry()
    fake.write(first, message, 1e9)
    assert seconds(message.header.stamp) == pytest.approx(1e9 + first.measured - 20.0, abs=1e-5)


def test_time_can_pass_faster() -> None:
    fake = robot(real_time_factor=5.0)
    assert len(run(fake, 0.0, 1.0, 0.001)) == pytest.approx(500, abs=2)


def test_what_it_cannot_use_is_counted_and_changes_nothing() -> None:
    fake = robot()
    run(fake, 0.0, 0.1)
    ask(fake, np.array([12.0, np.nan, 12.0, 12.0]), 0.1)
    ask(fake, np.array([12.0, 12.0]), 0.1)
    assert fake.counters == {
        "resets": 1,
        "commands ignored: a command is not finite": 1,
        "commands ignored: data has 2 elements": 1,
    }
    run(fake, 0.1, 0.2)
    assert fake.held


def test_a_process_that_was_stopped_loses_time_instead_of_hurrying() -> None:
    fake = robot()
    run(fake, 0.0, 0.1)
    assert fake.advance(30.0) == []
    assert fake.counters["gaps of time that were lost"] == 1
    assert len(run(fake, 30.0, 30.1)) == pytest.approx(10, abs=1)


def test_a_simulation_that_runs_away_is_held_where_it_was() -> None:
    profile = profiles.load("cartpole_joint_states")
    fake = FakeRobot(profile, registry.get("cartpole"), rate=100.0)
    fake.reset(np.array([0.0, 0.0, 3.9e4, 0.0], np.float32))
    run(fake, 0.0, 0.1)
    fake.command("effort_controller/commands", Float64MultiArray(data=[40.0]), 0.1)
    run(fake, 0.1, 3.0)
    assert fake.held and fake.counters["ran away and was held"] == 1
    assert np.isfinite(fake.truth).all()


def test_a_go_to_reset_arrives_and_waits() -> None:
    profile = profiles.load("quadrotor_imu")
    fake = FakeRobot(profile, SYSTEM)
    run(fake, 0.0, 0.1)
    ask_topic = next(iter(profile.commands))
    fake.command(ask_topic, Float64MultiArray(data=HOVER.tolist()), 0.1)
    run(fake, 0.1, 0.5)
    fake.go_to(goto_target(profile, SYSTEM), 1.0)
    run(fake, 0.5, 1.0)
    assert 0.05 < np.abs(fake.truth[:3]).max() < 5.0
    run(fake, 1.0, 1.6)
    np.testing.assert_allclose(fake.truth, 0.0, atol=1e-6)
    assert fake.held


def test_too_slow_a_simulation_is_refused() -> None:
    with pytest.raises(UserError, match="at least once per control period"):
        FakeRobot(PROFILE, SYSTEM, rate=10.0)


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_has_a_robot_that_its_interface_understands(name: str) -> None:
    profile = profiles.load(name)
    system = registry.get(profile.system)
    fake, interface = FakeRobot(profile, system, seed=2), RobotInterface(profile, system)
    for m in run(fake, 0.0, 0.5):
        package, kind, what = profile.sources[m.topic].type.split("/")
        message = getattr(importlib.import_module(f"{package}.{kind}"), what)()
        fake.write(m, message, 1e9)
        interface.receive(m.topic, message, m.due, 1e9 + m.due)
    reading = interface.reading(m.due)
    assert reading.problems == ()
    np.testing.assert_allclose(system.align(reading.state, m.truth), m.truth, atol=1e-5)

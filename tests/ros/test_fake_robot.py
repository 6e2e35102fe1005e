"""The fake robot as a process: it flies over DDS, and the interface reads its true state back."""

import time
from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from deepilc.robot import profile as profiles
from deepilc.robot.fields import seconds
from deepilc.robot.interface import RobotInterface
from deepilc_ros.message_types import message_type
from deepilc_ros.qos import NEWEST, subscription_for
from sims import registry

pytestmark = pytest.mark.ros

SYSTEM = registry.get("rexquadrotor")
HOVER = SYSTEM.parameters("real").hover_action


class Pilot:
    """What a bridge does: messages into the interface, actions into commands."""

    def __init__(self, probe: Any, name: str, **changes: Any) -> None:
        profile = profiles.load(name)
        sources = {  # a busy machine must not make a test fail
            topic: source.model_copy(update={"max_age": 1.0, "rate": None, **changes})
            for topic, source in profile.sources.items()
        }
        # nor is it held within bounds here: the test's controller lets it drift
        profile = profile.model_copy(update={"sources": sources, "bounds": {}})
        self.probe = probe
        self.robot = RobotInterface(profile, registry.get(profile.system))
        self.states: dict[float, np.ndarray] = {}  # by stamp
        self.truth = probe.listen(Float64MultiArray, "fake_robot/truth", 1000)
        for subscription in self.robot.subscriptions:
            probe.node.create_subscription(
                message_type(subscription.type),
                subscription.topic,
                lambda message, topic=subscription.topic: self.receive(topic, message),
                subscription_for(subscription.qos),
            )
        self.publishers = {
            p.topic: (
                message_type(p.type),
                probe.publisher(message_type(p.type), p.topic, NEWEST),
            )
            for p in self.robot.publications
        }

    def receive(self, topic: str, message: Any) -> None:
        clock = 1e-9 * self.probe.node.get_clock().now().nanoseconds
        self.robot.receive(topic, message, time.monotonic(), clock)
        if isinstance(message, Odometry | JointState):
            self.states[round(seconds(message.header.stamp), 5)] = self.reading().state

    def reading(self) -> Any:
        return self.robot.reading(time.monotonic())

    def usable(self) -> Any:
        """Waits for the first state without a problem."""
        return self.probe.until(lambda: not self.reading().problems and self.reading(), "a state")

    def act(self, action: np.ndarray) -> None:
        for topic, (kind, publisher) in self.publishers.items():
            message = kind()
            self.robot.fill(action, topic, message)
            publisher.publish(message)

    def compared(self) -> int:
        """Compares every state with the truth of the same stamp; returns how many there were."""
        system = self.robot.system
        truths = {round(row.data[0], 5): np.array(row.data[2:]) for row in self.truth}
        both = sorted(self.states.keys() & truths.keys())
        for stamp in both:
            true = truths[stamp][: system.state.size]
            found = system.align(self.states[stamp], true)
            np.testing.assert_allclose(found, true, atol=1e-4)
        return len(both)


def hover(state: np.ndarray) -> np.ndarray:
    """Levels the vehicle and climbs or sinks towards height 0: enough to stay in the air."""
    roll, pitch, yaw = -2.0 * state[3:6] - 0.4 * state[9:12]
    thrust = HOVER - 0.2 * state[2] - 0.3 * state[8]
    left, front = np.array([1.0, -1.0, -1.0, 1.0]), np.array([1.0, 1.0, -1.0, -1.0])
    spin = np.array([1.0, -1.0, 1.0, -1.0])
    action = thrust + roll * left - pitch * front + 0.5 * yaw * spin
    return np.clip(action, SYSTEM.action.low, SYSTEM.action.high)


def change(probe: Any, **values: float | bool) -> None:
    """Sets live parameters of the fake robot."""
    parameters = [
        Parameter(
            name=name,
            value=ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
            if isinstance(value, bool)
            else ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value),
        )
        for name, value in values.items()
    ]
    answer = probe.call(SetParameters, "fake_robot/set_parameters", parameters=parameters)
    assert all(result.successful for result in answer.results), answer


def test_it_flies_and_its_true_state_is_read_back(nodes: Any, probe: Any) -> None:
    # in slow motion, so that the controller of a test on a busy machine is quick enough
    slowly = {"real_time_factor": 0.25, "noise": 0.0}
    nodes.start("fake_robot", profile="quadrotor_odometry", seed=4, **slowly)
    pilot = Pilot(probe, "quadrotor_odometry")
    start = pilot.usable().state
    assert np.linalg.norm(start[3:6]) > 0.2  # 45 degrees

    def level() -> bool:
        state = pilot.reading().state
        pilot.act(hover(state))
        still = np.abs(state[9:12]).max() < 0.3
        return still and np.linalg.norm(state[3:6]) < 0.05 and len(pilot.states) > 100

    probe.until(level, "level flight")
    reading = pilot.reading()
    assert reading.problems == ()
    assert pilot.compared() > 80
    assert pilot.truth[-1].data[1] == 0.0  # not held any more
    assert np.abs(reading.state[:3] - start[:3]).max() > 0.1

    answer = probe.call(Trigger, "fake_robot/reset")
    assert answer.success and "until a command comes" in answer.message
    probe.until(lambda: pilot.truth[-1].data[1] == 1.0, "held again")


def test_faults_can_be_switched_on_while_it_flies_and_are_seen(nodes: Any, probe: Any) -> None:
    nodes.start("fake_robot", profile="quadrotor_odometry", seed=4)
    pilot = Pilot(probe, "quadrotor_odometry", stuck_after=0.5)
    pilot.usable()

    def problem(words: str) -> None:
        probe.until(lambda: words in " ".join(pilot.reading().problems), words)

    change(probe, stuck=True)
    problem("odom: stuck")
    change(probe, stuck=False, stamp_offset=-30.0)
    problem("the time stamps jumped by -")
    problem("odom: stale, 30.")
    change(probe, stamp_offset=30.0)
    problem("ahead of this clock")
    change(probe, stamp_offset=0.0, latency=1.5)
    problem("odom: stale, 1.")
    change(probe, latency=0.0, reorder=0.3)
    probe.until(lambda: pilot.robot.counters["odom: messages reordered"] > 3, "reordering")
    change(probe, reorder=0.0, drop=1.0)
    problem("odom: stale")
    change(probe, drop=0.0)
    pilot.usable()


def test_another_robot_goes_to_its_start_when_told(nodes: Any, probe: Any) -> None:
    nodes.start("fake_robot", profile="cartpole_joint_states", noise=0.0, goto_duration=0.3, seed=2)
    pilot = Pilot(probe, "cartpole_joint_states")
    pilot.usable()
    pilot.act(np.array([5.0]))
    probe.until(lambda: pilot.truth and pilot.truth[-1].data[1] == 0.0, "the cart moves")
    probe.until(lambda: abs(pilot.reading().state[0]) > 0.2, "the cart is away from the middle")
    probe.until(lambda: pilot.compared() > 10, "states with a truth beside them")
    goto = pilot.robot.profile.reset.goto
    command = probe.publisher(message_type(goto.type), goto.topic, NEWEST)
    command.publish(Float64MultiArray(data=[0.0]))

    def there() -> bool:
        state = dict(zip(pilot.robot.system.state.names, pilot.reading().state, strict=True))
        return all(low <= state[name] <= high for name, (low, high) in goto.within.items())

    probe.until(there, "the cart in the middle")


def test_a_robot_with_its_own_controller_flies_home_when_its_service_is_called(
    nodes: Any, probe: Any
) -> None:
    nodes.start("fake_robot", profile="quadrotor_imu", noise=0.0, goto_duration=0.2)
    pilot = Pilot(probe, "quadrotor_imu")
    pilot.usable()
    assert probe.call(Trigger, "go_home").success
    probe.until(lambda: np.abs(pilot.reading().state[:3]).max() < 1e-3, "home")


def test_a_parameter_out_of_range_is_refused(nodes: Any, probe: Any) -> None:
    nodes.start("fake_robot", profile="quadrotor_odometry", drop=2.0)
    assert nodes.exit_code("fake_robot") == 2
    assert "parameter 'drop' of fake_robot is 2.0" in nodes.output("fake_robot")

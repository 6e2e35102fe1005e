"""A flying rehearsal is broken in every way at random moments; then an operator arms it again."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nav_msgs", reason="needs the messages of ROS 2")

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

from deepilc import checkpoint
from deepilc_msgs.msg import Action, BridgeStatus, Observation, Transition
from deepilc_ros import conversions
from deepilc_ros.qos import NEWEST
from sims import registry
from tests.faults import Faults
from tests.ros.rehearsal import SILENT, Rehearsal, operate

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(1200)]

SYSTEM = registry.get("rexquadrotor+delay1")
HOVER = np.full(4, 12.2, np.float32)
FLOOD = 2000  # messages


class Flight:
    """A rehearsal, and the ways to break it."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal, self.nodes, self.probe = rehearsal, rehearsal.nodes, rehearsal.probe
        self.answer: Callable[[Observation], dict[str, Any]] | None = None
        self._actions = self.probe.node.create_publisher(Action, "action", NEWEST)
        self.probe.node.create_subscription(Observation, "observation", self._observed, NEWEST)

    def _observed(self, observation: Observation) -> None:
        if self.answer is not None:
            self.say(observation, **self.answer(observation))

    def say(self, observation: Observation, **changes: Any) -> None:
        """Acts in the policy node's place."""
        fields = {
            "run": observation.run,
            "number": observation.number,
            "episode": observation.episode,
            "step": observation.step,
            "mode": observation.mode,
            "spec_hash": observation.spec_hash,
            "action": conversions.floats(HOVER),
        }
        self._actions.publish(Action(**{**fields, **changes}))

    def robot(self, **values: float | bool) -> None:
        """Switches faults of the robot on or off."""
        bools = ParameterType.PARAMETER_BOOL
        parameters = [
            Parameter(
                name=name,
                value=ParameterValue(type=bools, bool_value=value)
                if isinstance(value, bool)
                else ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value),
            )
            for name, value in values.items()
        ]
        answer = self.probe.call(SetParameters, "fake_robot/set_parameters", parameters=parameters)
        assert all(result.successful for result in answer.results), answer

    def stopped(self, *why: str) -> None:
        """The bridge has stopped safely, says why, and sends nothing but the safe action."""
        self.rehearsal.state(BridgeStatus.SAFE_STOP, f"safe stop: {why}")
        reason = self.rehearsal.status[-1].reason
        assert any(word in reason for word in why), reason
        self.probe.until(lambda: self.rehearsal.status[-1].safe_actions >= SILENT, "safe rows")
        self.rehearsal.probe.spin(0.5)  # the hold is over
        self.rehearsal.commands.clear()
        self.probe.until(lambda: len(self.rehearsal.commands) > 5, "safe commands")
        for command in self.rehearsal.commands:
            np.testing.assert_allclose(command.data, HOVER, rtol=1e-6)

    def still_stopped(self) -> None:
        """What was broken is whole again, and nothing moves until an operator says so."""
        made = self.rehearsal.status[-1].number
        self.rehearsal.probe.spin(1.0)
        assert self.rehearsal.status[-1].state == BridgeStatus.SAFE_STOP
        assert self.rehearsal.status[-1].number == made


def policy_killed(flight: Flight) -> None:
    flight.nodes.kill("policy")
    flight.stopped("policy node silent")
    flight.nodes.start("policy")
    assert operate("start")[0] == 0
    flight.still_stopped()


def policy_frozen(flight: Flight) -> None:
    flight.nodes.signal("policy", signal.SIGSTOP)
    flight.stopped("policy node silent")
    flight.nodes.signal("policy", signal.SIGCONT)
    flight.still_stopped()


def another_answers(flight: Flight, *why: str, **changes: Any) -> None:
    """The policy node is frozen, and somebody else answers in its place."""
    flight.nodes.signal("policy", signal.SIGSTOP)
    flight.answer = lambda observation: changes
    flight.stopped(*why)
    flight.answer = None
    flight.nodes.signal("policy", signal.SIGCONT)
    flight.still_stopped()


def nan_actions(flight: Flight) -> None:
    first = len(flight.rehearsal.rows)
    nothing = conversions.floats(HOVER * np.nan)
    # a loaded machine may miss the last one
    another_answers(flight, "not finite", "policy node silent", action=nothing)
    bad = [row for row in flight.rehearsal.rows[first:] if "not finite" in row.guard_reason]
    assert bad or "silent" in flight.rehearsal.status[-1].reason
    assert all(row.source == Transition.SAFE for row in bad)


def actions_of_another_specification(flight: Flight) -> None:
    before = flight.rehearsal.status[-1].rejected_actions
    another_answers(flight, "policy node silent", spec_hash="0" * 64)
    assert flight.rehearsal.status[-1].rejected_actions > before


def robot_fault(flight: Flight, why: str, **values: float | bool) -> None:
    flight.robot(**values)
    flight.stopped(why)
    whole = {name: type(value)(0) for name, value in values.items()}
    flight.robot(**whole)
    flight.still_stopped()


def states_stop(flight: Flight) -> None:
    robot_fault(flight, "odom: stale", drop=1.0)


def nan_states(flight: Flight) -> None:
    robot_fault(flight, "not finite", nan=True)


def states_are_late(flight: Flight) -> None:
    robot_fault(flight, "odom: stale", latency=3.0)


def clock_jumps(flight: Flight) -> None:
    robot_fault(flight, "odom", stamp_offset=-30.0)


def robot_frozen(flight: Flight) -> None:
    flight.nodes.signal("fake_robot", signal.SIGSTOP)
    flight.stopped("odom: stale")
    flight.nodes.signal("fake_robot", signal.SIGCONT)
    flight.still_stopped()


def learner_frozen(flight: Flight) -> None:
    """Not a reason to stop: the policy flies on."""
    rows = flight.rehearsal.rows
    flight.nodes.signal("learner", signal.SIGSTOP)
    flight.rehearsal.fly(20)
    last = rows[-1].number
    flight.nodes.signal("learner", signal.SIGCONT)

    def caught_up() -> bool:
        return flight.rehearsal.learner[-1].received > last

    flight.probe.until(caught_up, "what the learner missed")


def flood_of_actions(flight: Flight) -> None:
    """Wrong answers as fast as they can be sent: rejected, counted, and the policy flies on."""
    status = flight.rehearsal.status
    before = status[-1].rejected_actions
    for number in range(FLOOD):
        flight.say(Observation(run="run", spec_hash=SYSTEM.spec_hash, number=10**9 + number))
        flight.probe.step(0.0)
    flight.probe.until(lambda: status[-1].rejected_actions > before, "rejected actions")
    flight.rehearsal.fly(10)  # on a machine that is late meanwhile, after another arming


def bridge_killed(flight: Flight) -> None:
    """Nobody commands until it is back; then it is disarmed, and the old episode is over."""
    rows, learner = flight.rehearsal.rows, flight.rehearsal.learner
    flight.probe.until(lambda: rows[-1].step > 3, "the middle of an episode")
    flight.nodes.kill("bridge")
    flight.rehearsal.probe.spin(0.5)
    last = rows[-1]
    flight.probe.until(lambda: learner[-1].received >= last.number, "the rows at the learner")
    flight.rehearsal.status.clear()
    flight.nodes.start("bridge", **flight.rehearsal.bridge)
    assert operate("start")[0] == 0
    flight.rehearsal.state(BridgeStatus.IDLE, "idle")
    flight.rehearsal.probe.spin(1.0)
    assert flight.rehearsal.status[-1].state == BridgeStatus.IDLE
    first = len(rows)
    flight.rehearsal.fly(5)
    after = rows[first]
    assert after.step == 0 and after.episode > last.episode and after.number > last.number


BREAKS: dict[str, tuple[Callable[[Flight], None], tuple[int, ...]]] = {
    "SIGKILL of the policy node": (policy_killed, (1, 3)),
    "SIGSTOP of the policy node": (policy_frozen, (1, 3)),
    "NaN in actions": (nan_actions, (1,)),
    "wrong spec hash in actions": (actions_of_another_specification, (1,)),
    "states stop": (states_stop, (1, 9)),
    "NaN in states": (nan_states, (1, 9)),
    "delay of states": (states_are_late, (1, 9)),
    "clock jump of the robot": (clock_jumps, (1, 9)),
    "SIGSTOP of the robot": (robot_frozen, (1, 9)),
    "SIGSTOP of the learner": (learner_frozen, (2,)),
    "flood of actions": (flood_of_actions, (10,)),
    "SIGKILL of the bridge": (bridge_killed, (9,)),
}
AT_FIRST = 4  # of them, in an ordinary run of the tests


@pytest.fixture
def flight(nodes: Any, probe: Any, small: dict[str, Any], tmp_path: Path) -> Iterator[Flight]:
    made = Flight(Rehearsal(nodes, probe, small, tmp_path / "run", max_age=1.0))
    yield made
    for name in ("policy", "fake_robot", "learner"):  # a frozen process does not hear its end
        nodes.signal(name, signal.SIGCONT)


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
@pytest.mark.promise(9)
@pytest.mark.promise(10)
def test_whatever_breaks_in_flight_the_robot_is_safe_until_an_operator_arms(
    flight: Flight, faults: Faults, tmp_path: Path
) -> None:
    rehearsal = flight.rehearsal
    assert operate("start")[0] == 0
    rehearsal.state(BridgeStatus.IDLE, "idle")
    for kind in faults.order(BREAKS, AT_FIRST):
        breaks, promises = BREAKS[kind]
        rehearsal.fly(12)
        rehearsal.probe.spin(faults.random.uniform(0.0, 0.5))
        # between two episodes a silent policy disarms the bridge to a robot that is left alone
        flight.probe.until(lambda: 3 < rehearsal.rows[-1].step < 60, "the middle of an episode")
        print(f"{kind} at transition {rehearsal.rows[-1].number}", flush=True)
        faults.tries(kind, promises=promises)
        breaks(flight)
    rehearsal.fly(12)
    low, high = SYSTEM.action.low, SYSTEM.action.high
    for command in rehearsal.commands:
        assert np.isfinite(command.data).all() and (command.data >= low).all()
        assert (command.data <= high).all()
    for before, row in zip(rehearsal.rows, rehearsal.rows[1:], strict=False):
        assert row.number > before.number and np.isfinite(row.action_applied).all()
        together = row.episode == before.episode
        assert together == (row.step == before.step + 1), "rows of one episode follow each other"
        if together:
            np.testing.assert_array_equal(row.state, before.next_state)
        if not np.isfinite([*row.state, *row.next_state]).all():
            assert row.excluded and row.source == Transition.SAFE
    flight.probe.until(lambda: rehearsal.learner[-1].updates > 0, "updates")
    saved = tmp_path / "run" / "checkpoints" / "latest.safetensors"
    before = saved.stat().st_mtime_ns if saved.exists() else 0
    assert operate("save")[0] == 0
    flight.probe.until(lambda: saved.exists() and saved.stat().st_mtime_ns > before, "a checkpoint")
    for name, tensor in checkpoint.load(saved)[0].items():
        assert not tensor.is_floating_point() or bool(tensor.isfinite().all()), name

"""The bridge alone, with a test in the places of policy node and learner."""

import math
import signal
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import State as LifecycleState
from lifecycle_msgs.msg import Transition as Change
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from std_srvs.srv import Trigger

from deepilc_msgs.msg import Action, BridgeStatus, Observation, Pace, Transition
from deepilc_msgs.srv import GetTransitions
from deepilc_ros import conversions
from deepilc_ros.qos import LATCHED, NEWEST, ROWS
from sims import registry
from tests.faults import Faults

pytestmark = pytest.mark.ros

SYSTEM = registry.get("rexquadrotor")
SAFE = np.asarray(SYSTEM.safe_action, np.float32)


class Bridge:
    """A bridge in lockstep and what is needed to talk to it."""

    def __init__(self, nodes: Any, probe: Any, **parameters: Any) -> None:
        nodes.parameters = {"run": "/nowhere/mine", "evaluation_episodes": 0}
        nodes.start("bridge", **{"autostart": True, "resend_after": 0.2, **parameters})
        self.probe = probe
        self.observations = probe.listen(Observation, "observation", NEWEST)
        self.transitions = probe.listen(Transition, "transition", ROWS)
        self.statuses = probe.listen(BridgeStatus, "bridge_status", LATCHED)
        self._actions = probe.publisher(Action, "action", NEWEST)
        self._paces = probe.publisher(Pace, "pace", LATCHED)

    @property
    def status(self) -> BridgeStatus:
        return self.statuses[-1]

    def pace(self, up_to: int, **fields: Any) -> None:
        self._paces.publish(Pace(run="mine", up_to=up_to, policy_version=1, **fields))

    def observation(self, number: int) -> Observation:
        def newest() -> Observation | None:
            last = self.observations[-1] if self.observations else None
            return last if last is not None and last.number == number else None

        return self.probe.until(newest, f"observation {number}")

    def act(self, observation: Observation, action: Any = SAFE, **changes: Any) -> None:
        fields = {
            "run": "mine",
            "number": observation.number,
            "episode": observation.episode,
            "step": observation.step,
            "mode": observation.mode,
            "spec_hash": SYSTEM.spec_hash,
            "policy_version": 1,
            "action": conversions.floats(np.asarray(action, np.float32)),
        }
        self._actions.publish(Action(**{**fields, **changes}))

    def transition(self, number: int) -> Transition:
        def there() -> Transition | None:
            return next((t for t in self.transitions if t.number == number), None)

        return self.probe.until(there, f"transition {number}")

    def rejected(self, count: int) -> None:
        self.probe.until(
            lambda: self.statuses and self.status.rejected_actions == count, f"{count} rejected"
        )


def test_only_the_answer_to_the_observation_moves_the_world(nodes: Any, probe: Any) -> None:
    bridge = Bridge(nodes, probe)
    bridge.pace(up_to=2)
    first = bridge.observation(0)
    wrong = [
        {"run": "another"},
        {"spec_hash": "0" * 64},
        {"number": 7},
        {"episode": 1},
        {"step": 1},
        {"policy_version": 2},
        {"action": conversions.floats(SAFE[:3])},
    ]
    for count, change in enumerate(wrong, start=1):
        bridge.act(first, **change)
        bridge.rejected(count)
    assert bridge.transitions == []
    bridge.act(first)
    made = bridge.transition(0)
    assert made.state == first.state
    assert not made.intervention
    bridge.observation(1)
    bridge.act(first)  # late: the world has moved on
    bridge.rejected(len(wrong) + 1)


def test_an_unanswered_observation_is_sent_again_with_its_number(nodes: Any, probe: Any) -> None:
    bridge = Bridge(nodes, probe)
    bridge.pace(up_to=1)
    first = bridge.observation(0)
    probe.until(lambda: len(bridge.observations) >= 3, "the observation again")
    assert all((o.number, o.state) == (0, first.state) for o in bridge.observations)
    probe.until(lambda: bridge.status.resent >= 2, "the count")


@pytest.mark.promise(1)
@pytest.mark.promise(5)
def test_the_guard_answers_bad_actions_and_says_why(nodes: Any, probe: Any, faults: Faults) -> None:
    faults.tries("NaN in actions", promises=(1,))
    faults.tries("action beyond its bounds", promises=(5,))
    bridge = Bridge(nodes, probe)
    bridge.pace(up_to=3)
    bridge.act(bridge.observation(0), [np.nan, 1.0, 1.0, 1.0])
    made = bridge.transition(0)
    assert made.intervention and made.source == Transition.SAFE
    assert "not finite" in made.guard_reason
    np.testing.assert_array_equal(made.action_applied, SAFE)
    assert math.isnan(made.action_requested[0])
    bridge.act(bridge.observation(1), [1e9, *SAFE[1:]])
    made = bridge.transition(1)
    assert made.intervention and made.source == Transition.POLICY
    assert "magnitude" in made.guard_reason
    assert made.action_applied[0] == SYSTEM.action.high[0]
    probe.until(lambda: bridge.status.interventions == 2, "both interventions in the status")


@pytest.mark.promise(5)
def test_whatever_is_requested_what_is_applied_keeps_the_limits_and_both_are_recorded(
    nodes: Any, probe: Any, faults: Faults
) -> None:
    change = 0.25  # of the action's range per period
    bridge = Bridge(nodes, probe, **{"guard.action_change": change})
    low, high = SYSTEM.action.low, SYSTEM.action.high
    tries = faults.times(30)
    bridge.pace(up_to=len(tries))
    before = SAFE
    for number in tries:
        size = 10.0 ** faults.random.uniform(-1.0, 30.0)
        wanted = (SAFE + size * faults.random.standard_normal(4)).astype(np.float32)
        faults.tries("action far beyond its limits")
        bridge.act(bridge.observation(number), wanted)
        made = bridge.transition(number)
        applied = np.array(made.action_applied)
        np.testing.assert_array_equal(made.action_requested, wanted)
        assert (applied >= low).all() and (applied <= high).all()
        if made.step > 0:
            assert (np.abs(applied - before) <= change * (high - low) * 1.0001).all()
        assert made.intervention == (not np.array_equal(applied, wanted))
        before = applied
        if made.terminated or made.truncated:  # a credit ends with its episode
            bridge.pace(
                len(tries),
                next_number=number + 1,
                next_episode=made.episode + 1,
                train_transitions=number + 1,
            )


def test_the_world_stops_where_the_credit_ends(nodes: Any, probe: Any) -> None:
    bridge = Bridge(nodes, probe)
    probe.until(lambda: bridge.statuses and bridge.status.state == BridgeStatus.ARMED, "armed")
    assert "learner" in bridge.status.reason
    bridge.pace(up_to=2)
    for number in range(2):
        bridge.act(bridge.observation(number))
        bridge.transition(number)
    probe.until(lambda: "credit" in bridge.status.reason, "waiting for credit")

    def pace_at(number: int) -> None:
        state = bridge.transition(number - 1).next_state
        action = conversions.floats(SAFE)
        bridge.pace(4, next_number=number, next_step=number, state=state, previous_action=action)

    pace_at(1)  # behind what is made already, and not the block under way
    probe.spin(0.5)
    assert max(o.number for o in bridge.observations) == 1
    pace_at(2)
    assert bridge.observation(2).step == 2


def test_operator_services(nodes: Any, probe: Any) -> None:
    bridge = Bridge(nodes, probe)
    bridge.pace(up_to=9)
    bridge.act(bridge.observation(0))
    second = bridge.observation(1)
    assert probe.call(Trigger, "pause").success
    bridge.act(second)
    bridge.rejected(1)
    assert probe.call(Trigger, "arm").success
    bridge.act(second)
    bridge.transition(1)
    assert probe.call(Trigger, "stop").success
    probe.until(lambda: bridge.status.state == BridgeStatus.SAFE_STOP, "safe stop")
    bridge.act(bridge.observation(2))
    bridge.rejected(2)
    assert not probe.call(Trigger, "pause").success  # a pause must not end a stop
    assert probe.call(Trigger, "arm").success
    bridge.act(bridge.observation(2))
    bridge.transition(2)
    probe.call(Trigger, "reset")
    fresh = probe.until(
        lambda: bridge.observations[-1].episode == 1 and bridge.observations[-1], "next episode"
    )
    assert (fresh.number, fresh.step) == (3, 0)


def test_history_answers_by_number_and_run(nodes: Any, probe: Any) -> None:
    bridge = Bridge(nodes, probe, history=3)
    bridge.pace(up_to=9)
    for number in range(5):
        bridge.act(bridge.observation(number))
        bridge.transition(number)
    answer = probe.call(GetTransitions, "get_transitions", run="mine", first=0, last=3)
    assert (answer.oldest, answer.next, answer.error) == (2, 5, "")
    assert answer.transitions == [bridge.transition(2), bridge.transition(3)]
    answer = probe.call(GetTransitions, "get_transitions", run="another", first=0, last=3)
    assert answer.transitions == [] and "'mine'" in answer.error


def test_lifecycle_and_arming_are_the_operators(nodes: Any, probe: Any) -> None:
    nodes.parameters = {"run": "mine"}
    nodes.start("bridge", wait_for_learner=False, pacing="real_time", evaluation_episodes=0)

    def state() -> int:
        return probe.call(GetState, "bridge/get_state").current_state.id

    def change(transition: int) -> bool:
        return probe.call(
            ChangeState, "bridge/change_state", transition=Change(id=transition)
        ).success

    assert state() == LifecycleState.PRIMARY_STATE_UNCONFIGURED
    observations = probe.listen(Observation, "observation", NEWEST)
    statuses = probe.listen(BridgeStatus, "bridge_status", LATCHED)
    assert change(Change.TRANSITION_CONFIGURE)
    for name in ("arm", "reset", "pause", "stop"):  # nothing would come of it
        answer = probe.call(Trigger, name)
        assert not answer.success and "is not active" in answer.message
    assert change(Change.TRANSITION_ACTIVATE)
    assert state() == LifecycleState.PRIMARY_STATE_ACTIVE
    probe.until(lambda: statuses and statuses[-1].state == BridgeStatus.IDLE, "idle")
    assert observations == []  # active, but nobody has armed it
    assert probe.call(Trigger, "arm").success
    probe.until(lambda: observations, "observations")
    assert change(Change.TRANSITION_DEACTIVATE)
    probe.spin(0.3)
    silent_from = len(observations)
    probe.spin(0.3)
    assert len(observations) == silent_from
    assert not probe.call(Trigger, "arm").success
    assert change(Change.TRANSITION_CLEANUP)
    assert change(Change.TRANSITION_CONFIGURE)  # and once more
    assert change(Change.TRANSITION_ACTIVATE)
    assert probe.call(Trigger, "arm").success
    flying = len(observations)
    probe.until(lambda: len(observations) > flying, "observations again")
    assert change(Change.TRANSITION_ACTIVE_SHUTDOWN)  # out of the middle
    assert state() == LifecycleState.PRIMARY_STATE_FINALIZED
    probe.until(lambda: statuses[-1].state == BridgeStatus.IDLE, "the last status")
    assert statuses[-1].reason == "shut down"
    probe.spin(0.3)
    silent_from = len(observations)
    probe.spin(0.3)
    assert len(observations) == silent_from
    nodes.signal("bridge", signal.SIGINT)
    assert nodes.exit_code("bridge") == 0, nodes.output("bridge")


@pytest.mark.promise(1)
@pytest.mark.parametrize("name", ["bridge", "policy"])
def test_a_lifecycle_request_that_does_not_fit_is_refused_and_the_node_lives(
    name: str, nodes: Any, probe: Any, faults: Faults
) -> None:
    nodes.parameters = {"run": "mine", "pacing": "real_time", "autostart": True}
    nodes.start(name)

    def state() -> str:
        return probe.call(GetState, f"{name}/get_state").current_state.label

    probe.until(lambda: state() == "active", "an active node")
    for wrong in (Change.TRANSITION_CONFIGURE, Change.TRANSITION_ACTIVATE, 99):
        faults.tries("lifecycle request that does not fit")
        request = Change(id=wrong)
        answer = probe.call(ChangeState, f"{name}/change_state", transition=request)
        assert not answer.success
        assert state() == "active"


def test_parameters_are_described_and_refused_with_a_reason(nodes: Any, probe: Any) -> None:
    Bridge(nodes, probe)

    def put(name: str, value: ParameterValue) -> Any:
        answer = probe.call(
            SetParameters, "bridge/set_parameters", parameters=[Parameter(name=name, value=value)]
        )
        return answer.results[0]

    def number(value: float) -> ParameterValue:
        return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)

    assert put("resend_after", number(0.4)).successful
    refused = put("resend_after", number(-1.0))
    assert not refused.successful and "resend_after" in refused.reason
    refused = put("real_time_factor", number(2.0))
    assert not refused.successful and "read-only" in refused.reason
    names = ["real_time_factor", "transitions", "guard.action_change", "agent.discount"]
    described = probe.call(DescribeParameters, "bridge/describe_parameters", names=names)
    assert all(d.description and d.read_only for d in described.descriptors)
    assert described.descriptors[0].floating_point_range[0].from_value == 0.01
    assert described.descriptors[1].integer_range[0].from_value == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"system": "rexquadrotr"}, ["rexquadrotr", "rexquadrotor"]),
        ({"parameters": "unreal"}, ["unreal", "nominal"]),
        ({"pacing": "sometimes"}, ["sometimes", "lockstep", "real_time"]),
        ({"real_time_factor": 1}, ["real_time_factor", "decimal point"]),
        (
            {"real_time_factor": 0.05, "pacing": "real_time"},
            ["real_time_factor is 0.05", "guard.observation_age", "0.15"],
        ),
        ({"history": 0}, ["history", "1 .."]),
        ({"evaluate_first": False}, ["evaluate_first"]),
        ({"warmup_transitons": 3}, ["warmup_transitons", "warmup_transitions"]),
        ({"agent": {"critic_hidden": 1}}, ["agent.critic_hidden", "8 .."]),
    ],
)
def test_a_bad_parameter_ends_the_node_in_one_line(
    parameters: dict[str, Any], words: list[str], nodes: Any
) -> None:
    nodes.start("bridge", **parameters)
    assert nodes.exit_code("bridge") == 2
    (line,) = nodes.output("bridge").splitlines()
    assert line.startswith("error: ") and all(word in line for word in words), line

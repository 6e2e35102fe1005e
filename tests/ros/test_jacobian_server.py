"""The Jacobian server alone: the model's own numbers, by topic and by service."""

from typing import Any

import numpy as np
import pytest

from deepilc_msgs.msg import Linearization, Transition
from deepilc_msgs.srv import Linearize
from deepilc_ros import conversions
from deepilc_ros.qos import ROWS
from sims import registry

pytestmark = pytest.mark.ros

SYSTEM = registry.get("rexquadrotor")


def rows(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, actions and next states as the real system makes them."""
    rng = np.random.default_rng(0)
    states = SYSTEM.reset(rng, "real", count)
    actions = rng.uniform(SYSTEM.action.low, SYSTEM.action.high, (count, SYSTEM.action.size))
    actions = actions.astype(np.float32)
    return states, actions, SYSTEM.model("real").step(states, actions)


def message(number: int, s: np.ndarray, a: np.ndarray, s2: np.ndarray, **more: Any) -> Transition:
    fields = {
        "run": "mine",
        "number": number,
        "mode": Transition.TRAIN,
        "spec_hash": SYSTEM.spec_hash,
        "state": conversions.floats(s),
        "action_applied": conversions.floats(a),
        "next_state": conversions.floats(s2),
    }
    return Transition(**{**fields, **more})


@pytest.mark.parametrize("method", ["exact", "finite_difference"])
def test_topic_and_service_give_the_nominal_models_derivatives(
    method: str, nodes: Any, probe: Any
) -> None:
    nodes.start("jacobian_server", run="mine", jacobian=method)
    states, actions, next_states = rows(40)
    arrived = probe.listen(Linearization, "linearization", ROWS)
    transitions = probe.publisher(Transition, "transition", ROWS)
    transitions.publish(message(90, states[0], actions[0], next_states[0], run="theirs"))
    transitions.publish(message(91, states[0], actions[0], next_states[0], spec_hash="0" * 64))
    transitions.publish(message(92, states[0], actions[0], next_states[0], mode=Transition.EVAL))
    for number, row in enumerate(zip(states, actions, next_states, strict=True)):
        transitions.publish(message(number, *row))
    probe.until(lambda: len(arrived) >= len(states), "all linearizations")
    assert [m.number for m in arrived] == list(range(len(states)))

    request = {
        "states": conversions.floats(states),
        "actions": conversions.floats(actions),
        "next_states": conversions.floats(next_states),
        "numbers": list(range(len(states))),
        "run": "mine",
        "spec_hash": SYSTEM.spec_hash,
    }
    answer = probe.call(Linearize, "linearize", **request)
    assert answer.error == ""
    wanted = SYSTEM.model("nominal", method).linearize(states, actions, next_states)
    hashed = SYSTEM.model_hash("nominal", method)
    for source in (arrived, answer.linearizations):
        assert {m.model_hash for m in source} == {hashed}
        for row, m in enumerate(source):
            got = conversions.read_linearization(m, SYSTEM)
            for theirs, ours in zip(got, wanted, strict=True):
                np.testing.assert_allclose(theirs, ours[row], rtol=1e-5, atol=1e-6)

    for change, word in (
        ({"run": "theirs"}, "mine"),
        ({"spec_hash": "0" * 64}, "specification"),
        ({"numbers": []}, "0 rows"),
        ({"actions": conversions.floats(actions[:3])}, "sizes"),
    ):
        refused = probe.call(Linearize, "linearize", **{**request, **change})
        assert refused.linearizations == [] and word in refused.error

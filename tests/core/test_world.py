"""What the simulated world does with an action that it cannot trust."""

import numpy as np
import pytest

from deepilc.plan import Plan
from deepilc.transition import Source
from deepilc.world import SimulatedWorld


@pytest.fixture
def world() -> SimulatedWorld:
    """An untouched world with an observation that waits for its answer."""
    made = SimulatedWorld("rexquadrotor", "real", Plan(seed=0, train_transitions=10))
    assert made.observe() is not None
    return made


@pytest.mark.parametrize("kind", ["observation_age", "action_age"])
def test_a_stale_state_or_action_is_answered_by_the_safe_action(
    kind: str, world: SimulatedWorld
) -> None:
    transition = world.apply(np.full(4, 12.0, np.float32), **{kind: 0.6})
    np.testing.assert_array_equal(transition.action_applied, world.system.safe_action)
    assert transition.source is Source.SAFE and "old" in transition.guard_reason
    assert world.interventions == 1


def test_a_fault_applies_the_safe_action_whatever_was_requested(world: SimulatedWorld) -> None:
    transition = world.apply(np.full(4, np.nan, np.float32), fault="no action in time")
    np.testing.assert_array_equal(transition.action_applied, world.system.safe_action)
    assert transition.intervention and transition.guard_reason == "no action in time"
    assert np.isnan(transition.action_requested).all()


def test_an_observation_is_the_same_until_it_is_answered(world: SimulatedWorld) -> None:
    first, again = world.observe(), world.observe()
    assert first is not None and again is not None
    np.testing.assert_array_equal(first.state, again.state)
    world.apply(world.system.safe_action)
    following = world.observe()
    assert following is not None and (following.number, following.step) == (1, 1)

"""The guard: nothing stale, non-finite or out of bounds reaches an actuator."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from deepilc.errors import UserError
from deepilc.guard import Guard, GuardLimits
from deepilc.transition import Source
from sims import registry

SYSTEM = registry.get("rexquadrotor")
LEVEL = np.zeros(12, np.float32)
HOVER = np.asarray(SYSTEM.safe_action, np.float32)


def test_a_good_action_passes_untouched() -> None:
    action = HOVER + np.array([0.1, -0.1, 0.2, 0.0], np.float32)
    verdict = Guard(SYSTEM).check(action, LEVEL, HOVER)
    np.testing.assert_array_equal(verdict.action, action)
    assert (verdict.source, verdict.reason, verdict.intervened) == (Source.POLICY, "", False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_action_is_replaced_by_the_safe_one(bad: float) -> None:
    action = HOVER.copy()
    action[2] = bad
    verdict = Guard(SYSTEM).check(action, LEVEL)
    np.testing.assert_array_equal(verdict.action, HOVER)
    assert verdict.source is Source.SAFE
    assert SYSTEM.action.names[2] in verdict.reason


def test_an_action_of_the_wrong_size_is_replaced_by_the_safe_one() -> None:
    verdict = Guard(SYSTEM).check(np.zeros(3), LEVEL)
    np.testing.assert_array_equal(verdict.action, HOVER)
    assert "(3,)" in verdict.reason


def test_a_non_finite_state_is_answered_by_the_safe_action() -> None:
    state = LEVEL.copy()
    state[7] = np.nan
    verdict = Guard(SYSTEM).check(HOVER + 0.5, state)
    np.testing.assert_array_equal(verdict.action, HOVER)
    assert SYSTEM.state.names[7] in verdict.reason


def test_an_action_beyond_its_bounds_is_clipped_and_named() -> None:
    action = HOVER.copy()
    action[1] = 99.0
    verdict = Guard(SYSTEM).check(action, LEVEL)
    assert verdict.action[1] == SYSTEM.action.high[1]
    assert verdict.source is Source.POLICY and verdict.intervened
    assert SYSTEM.action.names[1] in verdict.reason and "99" in verdict.reason


def test_a_first_flight_keeps_the_policy_but_not_the_operator_near_the_safe_action() -> None:
    safe, span = np.float32([12.5, 13.0, 14.0, 18.0]), SYSTEM.action.high - SYSTEM.action.low
    guard = Guard(SYSTEM, GuardLimits(action_range=0.1), safe_action=safe)
    verdict = guard.check(np.full(4, 1e3), LEVEL, safe)
    np.testing.assert_allclose(verdict.action, np.minimum(safe + 0.1 * span, SYSTEM.action.high))
    assert verdict.source is Source.POLICY and "magnitude" in verdict.reason
    operator = guard.limit(SYSTEM.action.high, safe, source=Source.HUMAN)
    np.testing.assert_array_equal(operator.action, SYSTEM.action.high)
    assert not guard.check(safe - 0.05 * span, LEVEL, safe).intervened


def test_a_jump_is_limited_to_the_rate() -> None:
    span = SYSTEM.action.high - SYSTEM.action.low
    guard = Guard(SYSTEM, GuardLimits(action_change=0.1))
    verdict = guard.check(SYSTEM.action.high, LEVEL, SYSTEM.action.low)
    np.testing.assert_allclose(verdict.action, SYSTEM.action.low + 0.1 * span, rtol=1e-5)
    assert "rate" in verdict.reason


@pytest.mark.parametrize("age", [0.51, np.inf, np.nan])
def test_a_stale_state_or_action_is_answered_by_the_safe_action(age: float) -> None:
    for kind in ("observation_age", "action_age"):
        verdict = Guard(SYSTEM).check(HOVER + 0.5, LEVEL, **{kind: age})
        np.testing.assert_array_equal(verdict.action, HOVER)
        assert "old" in verdict.reason


def test_outside_the_workspace_the_safe_action_is_applied() -> None:
    box = np.full(12, 10.0, np.float32)
    fenced = copy.copy(SYSTEM)
    object.__setattr__(fenced, "state", replace(SYSTEM.state, low=-box, high=box))
    state = LEVEL.copy()
    state[0] = 11.0
    verdict = Guard(fenced).check(HOVER + 0.5, state)
    np.testing.assert_array_equal(verdict.action, HOVER)
    assert SYSTEM.state.names[0] in verdict.reason and "11" in verdict.reason
    off = Guard(fenced, GuardLimits(workspace=False)).check(HOVER + 0.5, state)
    assert not off.intervened


@pytest.mark.parametrize("safe", [[14.5] * 3, [np.nan] * 4, [0.0] * 4])
def test_a_system_without_a_usable_safe_action_is_refused(safe: list[float]) -> None:
    broken = copy.copy(SYSTEM)
    object.__setattr__(broken, "safe_action", np.array(safe, np.float32))
    with pytest.raises(UserError, match="safe action"):
        Guard(broken)

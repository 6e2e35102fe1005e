"""Evaluation in one vector step, and the interval of a paired gain."""

import numpy as np
import pytest

from deepilc.evaluate import evaluate, paired_gain
from deepilc.plan import Plan
from deepilc.policy import Policy
from deepilc.policy_export import export
from deepilc.transition import Mode
from deepilc.world import SimulatedWorld


def test_paired_gain_by_hand():
    gain = paired_gain(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    # differences 1, 2, 3: mean 2, sd 1, half width 4.30265 / sqrt(3)
    assert gain.mean == 2.0
    assert gain.high - gain.mean == pytest.approx(2.48414, rel=1e-4)
    assert gain.low == pytest.approx(2.0 - 2.48414, rel=1e-4)
    assert not gain.significant


def test_unpaired_rows_are_refused():
    with pytest.raises(ValueError, match="two equal rows"):
        paired_gain(np.zeros(3), np.zeros(4))


def test_returns_equal_those_of_the_world_one_by_one(system, make_weights):
    """Vector steps against the single steps that training and the bridge make.

    Random weights crash: the episodes terminate, each at its own step.
    """
    policy = Policy.load(export(make_weights(), system, version=1, run="test"), system)
    plan = Plan(seed=0, train_transitions=1, evaluation_episodes=3, evaluation_seed=4)
    from deepilc.guard import GuardLimits

    limits = GuardLimits(action_change=None, workspace=False)
    world = SimulatedWorld(system, "real", plan, limits=limits)
    expected, ends = [], []
    while (seen := world.observe()) is not None and seen.mode is Mode.EVAL and len(expected) < 3:
        if seen.step == 0:
            total = 0.0
        transition = world.apply(policy.act(seen.state))
        total += transition.reward
        if transition.ends_episode:
            expected.append(total)
            assert transition.terminated
            ends.append(transition.step)
    assert len(set(ends)) == 3
    returns = evaluate(policy, system, "real", episodes=3, seed=4)
    np.testing.assert_allclose(returns, expected, rtol=1e-3)
    assert len(set(returns.tolist())) == 3


def test_a_row_that_has_ended_is_not_stepped_beyond_its_end():
    """A solver that fails outside its domain must not end the evaluation of the other rows."""
    from sims.own.callable_system import CallableSystem

    def step(state, action, p):
        if (state > 1.31).any():
            raise ValueError("outside the domain")
        return state + 0.3

    line = CallableSystem(
        "line",
        step,
        lambda state, action, next_state: np.ones(state.shape[:-1]),
        state={"x": ("m", 1.0)},
        action={"u": ("1", -1.0, 1.0)},
        dt=0.1,
        start={"x": (-0.9, 0.9)},
        terminated=lambda state, action, next_state: next_state[..., 0] > 1.0,
        horizon=50,
    )

    class Still:
        def act(self, state):
            return np.zeros((len(state), 1), np.float32)

    returns = evaluate(Still(), line, "real", episodes=6)  # type: ignore[arg-type]
    starts = [line.reset(np.random.default_rng([1_000_003, k]), "real")[0] for k in range(6)]
    expected = [np.ceil((1.0 - start) / 0.3) for start in starts]  # steps until beyond 1
    np.testing.assert_allclose(returns, expected)
    assert len(set(expected)) > 2

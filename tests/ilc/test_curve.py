"""The curve that experiments store."""

import numpy as np
import pytest

from deepilc.errors import UserError
from deepilc.evaluate import evaluate
from deepilc.ilc import run_curve
from sims import registry


def test_a_curve_starts_at_the_plan_counts_per_start_state_and_never_falls():
    seen = []
    rows = run_curve("cartpole", "real", 0, 450, 2, progress=lambda *at: seen.append(at))
    assert [row.transitions for row in rows] == [0, 100, 200, 300, 400]
    means = [row.mean for row in rows]
    assert means[0] == means[1], "the first rollout is the plan's; nothing has been learned yet"
    assert (np.diff(means) >= 0).all() and means[-1] > means[0] + 5.0
    assert [at for at, _ in seen] == [100, 200, 300, 400]
    np.testing.assert_allclose([mean for _, mean in seen], means[1:])
    assert rows[0].episodes == 2 and rows[0].deviation > 0
    other = run_curve("cartpole", "real", 1, 100, 2)
    assert other[0].mean != means[0], "plans begin from guesses that follow from the seed"


def test_start_states_are_those_of_every_evaluation():
    """Without learning or feedback a rollout earns what `evaluate` says of the same actions."""
    from deepilc.ilc import Controls, rollout
    from deepilc.plan import EVALUATION_SEED, evaluation_start

    class Constant:
        def act(self, states, noise=None):
            return np.full((len(states), 1), 3.0, np.float32)

    cartpole = registry.get("cartpole")
    starts = np.stack([evaluation_start(cartpole, "real", EVALUATION_SEED, k) for k in range(3)])
    flown = rollout(
        cartpole, "real", starts, Controls.open_loop(cartpole, starts, np.full((3, 100, 1), 3.0))
    )
    np.testing.assert_allclose(flown.returns, evaluate(Constant(), cartpole, "real", 3))


def test_a_budget_below_one_episode_is_refused():
    with pytest.raises(UserError, match=r"99.*at least one episode.*100"):
        run_curve("cartpole", "real", 0, 99, 2)

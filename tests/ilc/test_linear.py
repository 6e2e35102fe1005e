"""On a linear system with a quadratic cost the answers are known."""

import numpy as np
from scipy import linalg

from deepilc.ilc import Controls, Damping, learn
from tests.ilc.linear_world import least_squares, matrices, system

STARTS = np.array([[-0.5, 0.3], [0.8, -0.7], [0.0, 0.0]], np.float32)
BOLD = Damping(first=1e-8, least=1e-8)


def at_rest(cart, starts=STARTS):
    return Controls.open_loop(cart, starts, np.zeros((len(starts), cart.horizon, 1)))


def test_one_update_with_the_true_model_gives_the_least_squares_optimum():
    cart = system(effort=0.05, horizon=25)
    learned = learn(cart, "real", cart.model("real"), STARTS, at_rest(cart), 2, BOLD)
    for row, start in enumerate(STARTS):
        actions, best = least_squares(start.astype(float), 0.05, 25, stiffness=1.2, strength=0.8)
        np.testing.assert_allclose(learned.trajectory.action[row, :, 0], actions, atol=2e-3)
        np.testing.assert_allclose(learned.returns[1, row], best, rtol=1e-5)


def test_the_feedback_far_from_the_end_is_that_of_the_riccati_equation():
    cart = system(effort=0.05, horizon=120)
    learned = learn(cart, "real", cart.model("real"), STARTS, at_rest(cart), 2, BOLD)
    A, B = matrices(1.2, 0.8)
    R = np.array([[0.5 * 0.05]])
    P = linalg.solve_discrete_are(A, B, np.diag([1.0, 0.1]), R)
    gain = -np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    np.testing.assert_allclose(learned.controls.gain[:, 0], np.stack([gain] * 3), rtol=2e-3)


def test_a_wrong_model_still_leads_to_the_real_optimum_where_its_own_plan_does_not():
    """20 % errors of spring and motor; almost no effort, so that the real optimum is tracking."""
    cart, effort, horizon = system(effort=1e-4, horizon=25), 1e-4, 25
    nominal = cart.model("nominal")
    plan = learn(cart, "nominal", nominal, STARTS, at_rest(cart), 2, BOLD)
    open_loop = Controls.open_loop(cart, STARTS, plan.trajectory.action)
    learned = learn(cart, "real", nominal, STARTS, open_loop, 12, BOLD)
    best = np.array(
        [least_squares(start.astype(float), effort, horizon, 1.2, 0.8)[1] for start in STARTS]
    )
    lost_by_the_plan, lost_in_the_end = best - learned.returns[0], best - learned.returns[-1]
    assert (lost_by_the_plan > 0.05).all()
    assert (lost_in_the_end >= -1e-4).all()
    assert (lost_in_the_end < 0.01 * lost_by_the_plan).all()


def test_a_rollout_that_was_worse_is_counted_but_not_kept():
    """A model that believes the motor to pull the other way makes every update worse."""
    cart = system(effort=0.05, horizon=25)
    learned = learn(cart, "contrary", cart.model("nominal"), STARTS, at_rest(cart), 5, BOLD)
    np.testing.assert_array_equal(learned.used, 25 * np.arange(1, 6)[:, None] * np.ones((1, 3)))
    np.testing.assert_array_equal(learned.returns, np.stack([learned.returns[0]] * 5))
    assert not learned.trajectory.action.any()


def test_transitions_are_counted_up_to_an_early_end_and_never_beyond_the_budget():
    """From rest at 1.95 m, 6 N give 0.246 m/s, then 0.485: x = 1.95, 1.975, 2.023 ends it."""
    cart = system(
        effort=0.05, horizon=25, terminated=lambda state, action, after: after[..., 0] > 2.0
    )
    starts = np.array([[1.95, 0.0], [-0.5, 0.0]], np.float32)
    force = Controls.open_loop(cart, starts, np.stack([np.full((25, 1), 6.0), np.zeros((25, 1))]))
    model = cart.model("real")
    learned = learn(cart, "real", model, starts, force, 50, budget=110)
    np.testing.assert_array_equal(learned.used[0], [3, 25])
    assert (learned.used[-1] <= 110).all()
    assert learned.used[-1, 1] == 100  # four episodes of 25, and no part of a fifth
    assert (np.diff(learned.used, axis=0) <= 25).all()
    # what comes after the end was never tried, so that nothing is known about it
    first = learn(cart, "real", model, starts[:1], force.rows(np.array([0])), 2, budget=28)
    assert (first.trajectory.action[0, 5:] == 6.0).all()

"""Bounds, coordinates and curvature."""

import numpy as np
from scipy import optimize

from deepilc.ilc import Controls, learn, rollout
from deepilc.ilc.backward import bounded_minimum
from deepilc.ilc.expansion import expand
from sims import registry
from sims.own.callable_system import CallableSystem


def test_an_action_beyond_its_bound_is_held_there_without_feedback_and_the_other_adapts():
    """2 a^2 + b^2 + a b - 8 a with a <= 1: a = 1, and then b = -1/2 from 2 b + a = 0."""
    Q_aa, Q_as = np.array([[[4.0, 1.0], [1.0, 2.0]]]), np.array([[[3.0], [5.0]]])
    k, K = bounded_minimum(
        Q_aa, np.array([[-8.0, 0.0]]), Q_as, np.full((1, 2), -9.0), np.array([[1.0, 9.0]])
    )
    np.testing.assert_allclose(k, [[1.0, -0.5]])
    np.testing.assert_allclose(K, [[[0.0], [-2.5]]])
    free, gain = bounded_minimum(
        Q_aa, np.array([[-8.0, 0.0]]), Q_as, np.full((1, 2), -9.0), np.full((1, 2), 9.0)
    )
    np.testing.assert_allclose(free[0], np.linalg.solve(Q_aa[0], [8.0, 0.0]))
    np.testing.assert_allclose(gain[0], -np.linalg.solve(Q_aa[0], Q_as[0]))


def test_with_the_true_model_a_bounded_swing_ends_where_a_general_optimiser_does():
    """A pendulum pushed against a weak motor, against L-BFGS-B over all actions at once."""

    def step(state, action, p):
        angle, rate = state[..., 0], state[..., 1]
        rate = rate + 0.1 * (action[..., 0] - 3.0 * np.sin(angle))
        return np.stack([angle + 0.1 * rate, rate], axis=-1)

    def reward(state, action, after):
        return (
            -((after[..., 0] - 1.0) ** 2) - 0.05 * after[..., 1] ** 2 - 0.01 * action[..., 0] ** 2
        )

    pendulum = CallableSystem(
        "weak_pendulum",
        step,
        reward,
        state={"angle": "rad", "rate": ("rad/s", 2.0)},
        action={"torque": ("N m", -2.8, 2.8)},
        dt=0.1,
        start={"angle": 0.0, "rate": 0.0},
        horizon=30,
    )
    start = np.zeros(2)

    def loss(actions):
        state, total = start, 0.0
        for action in actions:
            after = step(state, np.array([action]), None)
            total -= float(reward(state, np.array([action]), after))
            state = after
        return total

    best = optimize.minimize(loss, np.zeros(30), method="L-BFGS-B", bounds=[(-2.8, 2.8)] * 30)
    assert (np.abs(best.x) > 2.79).sum() > 3  # the bounds matter
    starts = start[None].astype(np.float32)
    still = Controls.open_loop(pendulum, starts, np.zeros((1, 30, 1)))
    learned = learn(pendulum, "real", pendulum.model("real"), starts, still, 60)
    np.testing.assert_allclose(learned.returns[-1, 0], -best.fun, rtol=2e-3)
    np.testing.assert_allclose(learned.trajectory.action[0, :10, 0], best.x[:10], atol=0.15)


def test_feedback_counts_angles_the_short_way_round():
    """A pole at 0.1 rad is 0.1832 beyond a reference at 6.2, not 6.1 before it."""
    cartpole = registry.get("cartpole")
    start = np.array([[0.0, 0.1, 0.0, 0.0]], np.float32)
    reference = np.zeros((1, 100, 4))
    reference[..., 1] = 6.2
    gain = np.zeros((1, 100, 1, 4))
    gain[:, 0, 0, 1] = 10.0
    flown = rollout(
        cartpole, "nominal", start, Controls(reference, np.full((1, 100, 1), 1.0), gain)
    )
    np.testing.assert_allclose(flown.action[0, 0], 1.0 + 10.0 * (0.1 + 2 * np.pi - 6.2), rtol=1e-5)
    assert flown.state[0, 1, 1] < 6.3 and flown.transitions[0] == 100


def test_returns_and_feedback_do_not_depend_on_the_sheet_of_the_attitude():
    """A start on the shadow sheet is the same flight: the gains meet the same deviations."""
    rex = registry.get("rexquadrotor")
    starts = rex.reset(np.random.default_rng(4), "real", 2)
    rng = np.random.default_rng(5)
    gain = 0.3 * rng.standard_normal((2, 100, 4, 12))
    actions = rex.safe_action + 0.2 * rng.standard_normal((2, 100, 4))
    reference = np.broadcast_to(starts[:, None], (2, 100, 12)).astype(np.float64)
    shadow = starts.copy()
    shadow[:, 3:6] = -starts[:, 3:6] / np.sum(starts[:, 3:6] ** 2, axis=1, keepdims=True)
    one = rollout(rex, "real", starts, Controls(reference, actions, gain))
    other = rollout(rex, "real", shadow, Controls(reference, actions, gain))
    np.testing.assert_allclose(one.action[:, 0], other.action[:, 0], atol=1e-4)


def test_the_cost_s_curvature_is_that_of_the_reward_and_never_negative():
    """Near the upright pole: 2 (0.02, 0.2, 0.001, 0.001) per square, in sizes (2, pi, 4, 8)."""
    cartpole, model = registry.get("cartpole"), registry.get("cartpole").model("nominal")
    start = np.array([[0.1, np.pi + 0.1, 0.2, -0.3]], np.float32)
    flown = rollout(
        cartpole, "real", start, Controls.open_loop(cartpole, start, np.zeros((1, 100, 1)))
    )
    about = expand(cartpole, model, cartpole.resolve("real"), flown)
    sizes = np.array([2.0, np.pi, 4.0, 8.0])
    expected = np.zeros((5, 5))
    expected[:4, :4] = np.diag(2.0 * np.array([0.02, 0.2, 0.001, 0.001]) * sizes**2)
    np.testing.assert_allclose(about.hessian[0, 0], expected, atol=1e-6)
    rex = registry.get("rexquadrotor")
    starts = rex.reset(np.random.default_rng(0), "real", 3)
    hover = Controls.open_loop(rex, starts, np.tile(rex.safe_action, (3, 100, 1)))
    far = rollout(rex, "real", starts, hover)
    bent = expand(rex, rex.model("nominal"), rex.resolve("real"), far).hessian
    assert np.linalg.eigvalsh(bent).min() > -1e-9

"""The parts of the value-gradient term by hand arithmetic, and its target on an LQ problem."""

import math

import numpy as np
import pytest
import torch

from deepilc.agent import SAC, AgentConfig
from deepilc.agent.value_gradient import ValueGradient, gradient_target, robust_loss
from deepilc.replay import Batch


def term(**settings):
    """One state, one action, float64."""
    return ValueGradient(AgentConfig(**settings), 1, 1, torch.float64, torch.device("cpu"))


def rows(*pairs):
    """Gradients (2, N, 2) of two equal critics."""
    return torch.tensor([pairs, pairs], dtype=torch.float64)


def test_robust_loss_is_quadratic_then_linear_and_continuous():
    d = torch.tensor([0.0, 0.5, -1.0, 2.0, -3.0, 10.0])
    knee = torch.tensor(2.0)  # m = 1
    expected = [0.0, 0.25, 1.0, 4.0, 8.0, 36.0]  # 4|d| - 4 beyond the knee
    assert robust_loss(d, knee, published=False).tolist() == expected
    below, above = robust_loss(
        torch.tensor([2.0 - 1e-5, 2.0 + 1e-5]), knee, published=False
    ).tolist()
    assert below == pytest.approx(above, abs=1e-4)


def test_published_loss_jumps_by_four_median_squared_at_the_knee():
    d = torch.tensor([1.0, 3.0, 10.0])
    assert robust_loss(d, torch.tensor(2.0), published=True).tolist() == [1.0, 12.0, 40.0]


def test_median_is_the_lower_one_and_moves_by_a_twentieth():
    t = term()
    target = torch.zeros(4, 2, dtype=torch.float64)
    mask = torch.ones(4, dtype=torch.float64)
    # absolute state errors 1 2 3 4 (twice): lower median 2; action errors 10 20 30 40: 20
    t.error(rows((1, -10), (-2, 20), (3, 30), (-4, 40)), target, mask)
    assert t.medians.tolist() == [2.0, 20.0]
    t.error(rows((6, 0), (6, 0), (6, 0), (6, 0)), target, mask)
    assert t.medians.tolist() == pytest.approx([0.95 * 2 + 0.05 * 6, 0.95 * 20])


def test_every_coordinate_has_a_median_of_its_own():
    t = ValueGradient(AgentConfig(), 2, 1, torch.float64, torch.device("cpu"))
    gradient = rows((1, 100, 0), (2, 200, 0), (3, 300, 0))
    t.error(gradient, torch.zeros(3, 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    assert t.medians.tolist() == [2.0, 200.0, 0.0]
    assert t.knee[0, 0].tolist() == [4.0, 400.0, 0.0]
    assert t.part_medians().tolist() == [101.0, 0.0]


def test_median_per_critic_moves_twice_and_each_critic_has_its_own_knee():
    t = term(median_update="per_critic")
    gradient = torch.tensor([[[2.0, 1.0]], [[10.0, 5.0]]], dtype=torch.float64)
    t.error(gradient, torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    second = 0.95 * 2.0 + 0.05 * 10.0
    assert t.medians[0].item() == pytest.approx(second)
    assert t.knee[:, 0, 0].tolist() == pytest.approx([4.0, 2 * second])


@pytest.mark.parametrize(("masked_rows", "expected"), [("exclude", 3.0), ("zeros", 0.0)])
def test_masked_rows_stay_out_of_the_median_unless_published(masked_rows, expected):
    t = term(masked_rows=masked_rows)
    mask = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    error = t.error(
        rows((3, 1), (70, 1), (80, 1), (90, 1)), torch.zeros(4, 2, dtype=torch.float64), mask
    )
    assert t.medians[0].item() == expected
    assert error[:, 1:].abs().max() == 0.0


def test_batch_without_any_valid_row_changes_nothing_and_gives_no_slope():
    t = term()
    none = torch.zeros(2, dtype=torch.float64)
    error = t.error(rows((3, 1), (7, 1)), torch.zeros(2, 2, dtype=torch.float64), none)
    assert t.medians.isnan().all()
    t.measure(torch.tensor(1.0), torch.zeros(2, dtype=torch.float64))
    assert t.coefficients.isnan().all()
    assert t.weigh(t.slope(error)).tolist() == torch.zeros(2, 2, 2).tolist()


def test_slope_is_twice_the_error_and_four_medians_beyond_the_knee():
    t = term()
    error = t.error(
        rows((1, 1), (-1, 1), (50, 1)), torch.zeros(3, 2, dtype=torch.float64),
        torch.ones(3, dtype=torch.float64),
    )  # fmt: skip
    # medians 1, knee 2; mean over 3 rows and 1 coordinate
    assert t.slope(error)[0, :, 0].tolist() == pytest.approx([2 / 3, -2 / 3, 4 / 3])


def test_squared_loss_has_no_knee():
    t = term(gradient_loss="squared")
    ones = torch.ones(3, dtype=torch.float64)
    error = t.error(rows((1, 1), (-1, 1), (50, 1)), torch.zeros(3, 2, dtype=torch.float64), ones)
    assert t.slope(error)[0, :, 0].tolist() == pytest.approx([2 / 3, -2 / 3, 100 / 3])
    assert t.losses(error).tolist() == pytest.approx([2 * 2502 / 3, 2.0])


def test_weight_of_a_row_scales_its_loss_and_not_the_medians():
    t = term()
    weight = torch.tensor([1.0, 0.25, 0.5, 0.0], dtype=torch.float64)
    gradient = rows((1, 1), (2, 1), (50, 1), (9, 1))
    error = t.error(gradient, torch.zeros(4, 2, dtype=torch.float64), weight)
    # median 2 of 1 2 50, knee 4; mean over 4 rows and 1 coordinate
    assert t.medians[0].item() == 2.0
    assert t.slope(error)[0, :, 0].tolist() == pytest.approx([2 / 4, 0.25, 0.5 * 8 / 4, 0.0])
    expected = 2 * (1 + 0.25 * 4 + 0.5 * (4 * 2 * 50 - 16)) / 4
    assert t.losses(error)[0].item() == pytest.approx(expected)


def test_coefficients_are_norm_ratios_that_move_by_seven_tenths():
    t = term(zeta_state=0.5, zeta_action=2.0)
    t.measure(torch.tensor(6.0), torch.tensor([2.0, 12.0], dtype=torch.float64))
    assert t.coefficients.tolist() == [3.0, 0.5]
    t.measure(torch.tensor(6.0), torch.tensor([6.0, 3.0], dtype=torch.float64))
    expected = [0.3 * 3.0 + 0.7 * 1.0, 0.3 * 0.5 + 0.7 * 2.0]
    assert t.coefficients.tolist() == pytest.approx(expected)
    assert t.betas().tolist() == pytest.approx([0.5 * expected[0], 2.0 * expected[1]])


def test_coefficients_are_measured_at_the_interval_only(system, make_batch):
    config = AgentConfig(critic_hidden=8, actor_hidden=8, coefficient_interval=3)
    agent = SAC(system, config, seed=0, dtype=torch.float64)
    seen = []
    for step in range(7):
        agent.update(make_batch(step))
        seen.append(agent.state_dict()["coefficients"].tolist())
    changed = [a != b for a, b in zip([None, *seen], seen, strict=False)]
    assert changed == [True, False, False, True, False, False, True]


# --- masks in a whole update ----------------------------------------------------------------


def moved(system, batch, **settings):
    settings = {"critic_hidden": 8, "actor_hidden": 8, **settings}
    agent = SAC(system, AgentConfig(**settings), seed=2, dtype=torch.float64)
    agent.update(batch)
    return agent.state_dict()["critic"]


def test_jacobians_of_terminated_rows_have_no_effect(system, make_batch):
    batch = make_batch(1, terminated=0.4, valid=1.1)
    before = moved(system, batch)
    ended = batch.terminated == 1
    batch.jacobian[ended] *= -7.0
    batch.reward_gradient[ended] += 3.0
    assert torch.equal(moved(system, batch), before)


def test_next_state_of_a_terminated_row_has_no_effect_on_the_critics(system, make_batch):
    batch = make_batch(1, terminated=0.4, valid=1.1)
    before = moved(system, batch)
    batch.next_state[batch.terminated == 1] += 5.0
    # the rows of each critic are multiplied together, and their number decides the last bits
    torch.testing.assert_close(moved(system, batch), before, rtol=1e-12, atol=1e-12)


def test_rows_without_jacobian_train_as_plain_sac(system, make_batch):
    batch = make_batch(4, valid=-1.0)
    plain = moved(system, batch, value_gradient=False)
    torch.testing.assert_close(moved(system, batch), plain, rtol=1e-12, atol=1e-12)


def test_truncated_rows_bootstrap_and_keep_their_value_gradient(system, make_batch):
    """The replay stores no truncation: such rows are rows that did not terminate."""
    batch = make_batch(4, terminated=-1.0, valid=1.1)
    before = moved(system, batch)
    batch.next_state[0] += 1.0
    assert not torch.equal(moved(system, batch), before)
    batch.next_state[0] -= 1.0
    batch.jacobian[0] *= 2.0
    assert not torch.equal(moved(system, batch), before)


# --- costate identity (paper, section 4.2) --------------------------------------------------

DISCOUNT = 0.97


class LinearQuadratic:
    """s' = As + Ba, r = -(s'Qs + a'Ra)/2, and the policy a = -Ks."""

    def __init__(self, optimal):
        rng = np.random.default_rng(5)
        self.n, self.m = 4, 2
        self.A = np.eye(4) + 0.2 * rng.normal(size=(4, 4))
        self.B = rng.normal(size=(4, 2))
        self.Q, self.R = np.diag([1.0, 2.0, 0.5, 3.0]), np.diag([0.3, 0.7])
        A, B, Q, R, g = self.A, self.B, self.Q, self.R, DISCOUNT
        P = np.zeros((4, 4))
        for _ in range(5000):  # Riccati
            K = g * np.linalg.solve(R + g * B.T @ P @ B, B.T @ P @ A)
            P = Q + K.T @ R @ K + g * (A - B @ K).T @ P @ (A - B @ K)
        if not optimal:
            K = 0.8 * K
            for _ in range(5000):  # Lyapunov
                P = Q + K.T @ R @ K + g * (A - B @ K).T @ P @ (A - B @ K)
        self.K, self.P = K, P

    def q_gradient(self, s, a):
        """d/d(s, a) of Q(s, a) = r + discount V(s'), with V(s) = -s'Ps/2."""
        back = -DISCOUNT * (s @ self.A.T + a @ self.B.T) @ self.P
        return np.concatenate([back @ self.A - s @ self.Q, back @ self.B - a @ self.R], 1)

    def batch(self, s, a):
        rows = len(s)
        jacobian = np.broadcast_to(np.concatenate([self.A, self.B], 1), (rows, 4, 6))
        return Batch(
            state_action=torch.tensor(np.concatenate([s, a], 1)),
            reward=torch.zeros(rows),
            next_state=torch.tensor(s @ self.A.T + a @ self.B.T),
            terminated=torch.zeros(rows, dtype=torch.float64),
            jacobian=torch.tensor(jacobian.copy()),
            reward_gradient=torch.tensor(np.concatenate([-s @ self.Q, -a @ self.R], 1)),
            valid=torch.ones(rows, dtype=torch.float64),
        )


@pytest.mark.parametrize("optimal", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_true_q_of_the_linear_quadratic_problem_is_a_fixed_point(optimal, scaled):
    lq = LinearQuadratic(optimal)
    assert np.abs(np.linalg.eigvals(lq.A - lq.B @ lq.K)).max() < 1 / math.sqrt(DISCOUNT)
    rng = np.random.default_rng(1)
    s, a = rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    S = rng.uniform(0.2, 4.0, size=6) if scaled else np.ones(6)
    next_s = s @ lq.A.T + a @ lq.B.T
    next_q = lq.q_gradient(next_s, -next_s @ lq.K.T)
    through_policy = next_q[:, :4] - next_q[:, 4:] @ lq.K
    args = (DISCOUNT, torch.tensor(S[:4]), torch.tensor(S))
    batch = lq.batch(s, a)

    def goal(gradient):
        return gradient_target(batch, torch.tensor(gradient * S[:4]), *args).numpy()

    expected = lq.q_gradient(s, a) * S
    np.testing.assert_allclose(goal(through_policy), expected, rtol=1e-9, atol=1e-9)
    # a constant next action leaves out dQ/da' da'/ds', which vanishes at the optimum only
    constant = np.allclose(goal(next_q[:, :4]), expected, rtol=1e-6, atol=1e-6)
    assert constant == optimal

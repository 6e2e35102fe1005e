"""The corrected model against finite differences of its own step and of its reward."""

from typing import Any

import numpy as np
import pytest
import torch

from deepilc.models.corrected import CorrectedModel
from deepilc.models.residual import Residual
from sims import registry
from sims.model import Linearization
from sims.system import System


class Linear:
    """s' = A s + B a in float64."""

    def __init__(self, system: System) -> None:
        rng = np.random.default_rng(0)
        n, m = system.state.size, system.action.size
        self.system, self.parameters = system, system.parameters("nominal")
        self.A = np.eye(n) + 0.1 * rng.normal(size=(n, n))
        self.B = 0.01 * rng.normal(size=(n, m))

    def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        return state @ self.A.T + action @ self.B.T

    def linearize(self, state: np.ndarray, action: np.ndarray, after: np.ndarray) -> Linearization:
        lead = state.shape[:-1]
        by_state, by_action = self.system.reward_gradient(state, action, after, self.parameters)
        return Linearization(
            np.broadcast_to(self.A, (*lead, *self.A.shape)),
            np.broadcast_to(self.B, (*lead, *self.B.shape)),
            by_state @ self.A,
            by_state @ self.B + by_action,
            np.ones(lead, bool),
        )


def corrected(system: System, nominal: Any, **settings: Any) -> CorrectedModel:
    residual = Residual(system, 3, 8, seed=0, dtype=torch.float64)
    state = residual.state_dict()
    generator = torch.Generator().manual_seed(1)
    state["weights"] = 0.5 * torch.randn(state["weights"].shape, generator=generator).double()
    state["output"] = torch.from_numpy(0.1 * system.state.scale.astype(np.float64))
    residual.load_state_dict(state)
    return CorrectedModel(nominal, residual, **settings)


@pytest.fixture(scope="module")
def cartpole() -> System:
    return registry.get("cartpole")


def differences(function: Any, x: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Centred differences (..., d) of `function` of one row."""
    columns = []
    for j, size in enumerate(sizes):
        move = np.zeros(len(x))
        move[j] = 1e-5 * size
        columns.append((function(x + move) - function(x - move)) / (2e-5 * size))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("member", [None, 1])
def test_linearize_equals_differences_of_step_and_of_the_reward(
    cartpole: System, member: int | None
) -> None:
    model = corrected(cartpole, Linear(cartpole), member=member)
    rng = np.random.default_rng(2)
    for _ in range(5):
        x = np.concatenate([cartpole.state.center, [0.0]]) + rng.uniform(-0.3, 0.3, 5)
        after = model.step(x[:4], x[4:])
        A, B, r_s, r_a, valid = model.linearize(x[:4], x[4:], after)
        assert valid
        expected = differences(lambda x: model.step(x[:4], x[4:]), x, cartpole.sizes)
        np.testing.assert_allclose(np.hstack([A, B]), expected, rtol=1e-6, atol=1e-8)

        def reward(x: np.ndarray) -> np.ndarray:
            s, a = x[:4], x[4:]
            return cartpole.reward(s, a, model.step(s, a), model.parameters)

        gradient = differences(reward, x, cartpole.sizes)
        np.testing.assert_allclose(np.append(r_s, r_a), gradient, rtol=1e-5, atol=1e-7)


def test_the_share_scales_the_residuals_jacobian_and_leaves_the_step(cartpole: System) -> None:
    nominal = Linear(cartpole)
    none, half, full = (corrected(cartpole, nominal, jacobian_share=x) for x in (0.0, 0.5, 1.0))
    rng = np.random.default_rng(2)
    state, action = rng.normal(size=(6, 4)), rng.normal(size=(6, 1))
    after = full.step(state, action)
    np.testing.assert_array_equal(none.step(state, action), after)
    J = [model.linearize(state, action, after) for model in (none, half, full)]
    for name in ("A", "B", "r_s", "r_a"):
        low, middle, high = (getattr(each, name) for each in J)
        np.testing.assert_allclose(middle, (low + high) / 2, atol=1e-12)
        np.testing.assert_array_equal(low, getattr(nominal.linearize(state, action, after), name))
        assert not np.allclose(low, high)


def test_rows_that_the_nominal_model_finds_invalid_stay_zero() -> None:
    system = registry.get("rexquadrotor")
    model = corrected(system, system.model("nominal"))
    state, action = np.zeros((2, 12), np.float32), np.full((2, 4), 12.0, np.float32)
    after = model.step(state, action)
    after[1] = np.nan
    result = model.linearize(state, action, after)
    assert result.valid.tolist() == [True, False]
    for part in result[:4]:
        assert part.dtype == np.float32
        assert not part[1].any()


def test_on_the_other_mrp_sheet_only_the_nominal_jacobian_is_used() -> None:
    system = registry.get("rexquadrotor")
    nominal = system.model("nominal")
    model = corrected(system, nominal)
    state, action = np.zeros((2, 12), np.float32), np.full((2, 4), 12.0, np.float32)
    state[:, 3] = 0.9
    after = nominal.step(state, action)
    after[1, 3:6] /= -np.sum(after[1, 3:6] ** 2)  # the same attitude on the other sheet
    ours, theirs = (each.linearize(state, action, after) for each in (model, nominal))
    assert not np.allclose(ours.A[0], theirs.A[0])
    np.testing.assert_array_equal(ours.A[1], theirs.A[1])
    np.testing.assert_array_equal(ours.r_s[1], theirs.r_s[1])

"""The residual's closed forms against autograd, and what a fit recovers."""

import numpy as np
import pytest
import torch

from deepilc.errors import UserError
from deepilc.models.residual import OUTLIER, Residual
from sims import registry
from sims.system import System


@pytest.fixture(scope="module")
def system() -> System:
    return registry.get("cartpole")  # 4 states, 1 action


def random_residual(system: System, members: int = 3, hidden: int = 8) -> Residual:
    """Float64, and no weight is zero."""
    residual = Residual(system, members, hidden, seed=0, dtype=torch.float64)
    state = residual.state_dict()
    generator = torch.Generator().manual_seed(1)
    state["weights"] = 0.5 * torch.randn(state["weights"].shape, generator=generator).double()
    state["output"] = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    residual.load_state_dict(state)
    return residual


def inputs(system: System, rows: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1.0, 1.0, (rows, len(system.sizes)))
    center = np.concatenate([system.state.center, system.action.center])
    return torch.from_numpy(center + z * system.sizes)


def reference(residual: Residual, system: System, member: int, x: torch.Tensor) -> torch.Tensor:
    """The formula at the head of the module, member by member, differentiable: (N, n)."""
    center = torch.from_numpy(np.concatenate([system.state.center, system.action.center]))
    z = (x - center) / torch.from_numpy(system.sizes)
    z = torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], 1)
    w = residual._views(residual.state_dict()["weights"])
    hidden = torch.tanh(z @ w.first[member].T)
    hidden = torch.tanh(hidden @ w.second[member].T + w.second_bias[member])
    scale = residual.state_dict()["output"]
    return (z @ w.linear[member].T + hidden @ w.head[member].T) * scale


def test_predictions_and_jacobians_equal_autograd_of_the_formula(system: System) -> None:
    residual, x = random_residual(system), inputs(system, 70)
    members = [reference(residual, system, k, x) for k in range(3)]
    torch.testing.assert_close(residual.predict(x), torch.stack(members))
    torch.testing.assert_close(residual.mean(x), torch.stack(members).mean(0))
    expected = np.std([m.numpy() for m in members], axis=0)
    np.testing.assert_allclose(residual.spread(x).numpy(), expected)
    slopes = []
    for k in range(3):
        one_row = torch.func.jacrev(lambda row, k=k: reference(residual, system, k, row[None])[0])
        slopes.append(torch.func.vmap(one_row)(x))
        torch.testing.assert_close(residual.jacobian(x, member=k), slopes[k])
    torch.testing.assert_close(residual.jacobian(x), torch.stack(slopes).mean(0))


def test_the_slope_of_the_loss_equals_autograd_with_outliers_pulling_less(system: System) -> None:
    residual = random_residual(system)
    x = residual._inputs(inputs(system, 20)).expand(3, 20, -1)
    target = 4.0 * torch.randn(3, 20, 4, dtype=torch.float64, generator=torch.Generator())
    residual.loss_gradient(x, target)

    weights = residual.state_dict()["weights"].requires_grad_()
    w = residual._views(weights)
    h1 = torch.tanh(torch.einsum("kni,khi->knh", x, w.first))
    h2 = torch.tanh(torch.einsum("kni,khi->knh", h1, w.second) + w.second_bias)
    y = torch.einsum("kni,koi->kno", x, w.linear) + torch.einsum("kni,koi->kno", h2, w.head)
    assert (y - target).abs().max() > OUTLIER
    loss = torch.nn.functional.huber_loss(y, target, delta=OUTLIER, reduction="none")
    (expected,) = torch.autograd.grad(loss.mean((1, 2)).sum(), weights)
    torch.testing.assert_close(residual._adam.gradient, expected)


def test_a_fit_recovers_a_linear_discrepancy_and_its_jacobian(system: System) -> None:
    rng = np.random.default_rng(3)
    matrix = torch.from_numpy(rng.normal(size=(4, 5)) * system.state.scale[:, None] / system.sizes)
    matrix *= 0.1
    offset = torch.tensor([0.02, 0.0, -0.1, 0.3], dtype=torch.float64)
    x = inputs(system, 400)
    residual = Residual(system, 3, 16, seed=0, dtype=torch.float64)
    fit = residual.fit(x, x @ matrix.T + offset, steps=2000)
    assert fit.after < 0.03 * fit.before
    fresh = inputs(system, 100, seed=9)
    delta = fresh @ matrix.T + offset
    assert (residual.mean(fresh) - delta).square().mean() < 0.05**2 * delta.square().mean()
    scale = torch.from_numpy(system.sizes)
    error = ((residual.jacobian(fresh) - matrix) * scale).norm(dim=(1, 2)).median()
    assert error < 0.15 * (matrix * scale).norm()


def test_a_fit_to_noise_keeps_the_nominal_model(system: System) -> None:
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.normal(size=(60, 4)))
    residual = Residual(system, 3, 16, seed=0, dtype=torch.float64)
    fit = residual.fit(inputs(system, 60), noise, steps=500)
    assert fit.after <= fit.before
    assert residual.mean(inputs(system, 50, seed=1)).square().mean() < 0.3


def test_members_disagree_more_where_there_was_no_data(system: System) -> None:
    x = inputs(system, 200)
    residual = Residual(system, 4, 16, seed=0, dtype=torch.float64)
    residual.fit(x, torch.sin(3.0 * x[:, :4] / torch.from_numpy(system.sizes[:4])), steps=1000)
    away = x + 4.0 * torch.from_numpy(system.sizes)
    assert residual.spread(away).mean() > 3.0 * residual.spread(x).mean()


def test_a_restored_residual_fits_on_bit_equal(system: System) -> None:
    x, delta = inputs(system, 100).float(), inputs(system, 100, seed=5)[:, :4].float()
    one, two = Residual(system, 2, 8, seed=0), Residual(system, 2, 8, seed=7)
    one.fit(x, delta, steps=100)
    two.load_state_dict(one.state_dict())
    for residual in (one, two):
        residual.fit(x, 0.5 * delta, steps=60)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_misuse_is_said_in_one_line(system: System) -> None:
    residual = Residual(system, 2, 8, seed=0)
    with pytest.raises(UserError, match="3 rows to fit"):
        residual.fit(torch.zeros(3, 5), torch.zeros(3, 4), steps=10)
    with pytest.raises(UserError, match="members"):
        residual.load_state_dict(Residual(system, 3, 8, seed=0).state_dict())

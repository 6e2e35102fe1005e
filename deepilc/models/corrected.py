"""The nominal model plus its learned residual, with the interface of a model."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepilc.models.residual import Residual
from sims.model import Linearization, Model

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["CorrectedModel"]


class CorrectedModel:
    """s' = g(s, a) + delta(s, a) with A = dg/ds + share ddelta/ds, B = dg/da + share ddelta/da.

    Args:
        nominal: g.
        residual: delta; changes as it is fitted.
        jacobian_share: Share of the residual's Jacobian; 0 gives the nominal Jacobians.
        member: Predict with this member of the ensemble; None with the mean.
    """

    def __init__(
        self,
        nominal: Model,
        residual: Residual,
        jacobian_share: float = 1.0,
        member: int | None = None,
    ) -> None:
        self.nominal = nominal
        self.residual = residual
        self.jacobian_share = jacobian_share
        self.member = member

    @property
    def system(self) -> "System":
        """The system that is modelled."""
        return self.nominal.system

    @property
    def parameters(self) -> Any:
        """The nominal parameters."""
        return self.nominal.parameters

    def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The state after one control period, (..., n), from (..., n) and (..., m)."""
        predicted = self.nominal.step(state, action)
        x = torch.from_numpy(_rows(state, action))
        delta = (
            self.residual.mean(x) if self.member is None else self.residual.predict(x)[self.member]
        )
        return predicted + _array(delta, state).reshape(state.shape)

    def linearize(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> Linearization:
        """Derivatives at measured transitions; see `sims.model.Linearization`.

        Rows are invalid where the nominal model's are. Where g(s, a) and the measured s' lie on
        different sheets of an attitude, the residual's Jacobian, which belongs to g's, is left out.

        Args:
            state: (..., n)
            action: (..., m)
            next_state: (..., n) measured next states.
        """
        nominal = self.nominal.linearize(state, action, next_state)
        if self.jacobian_share == 0.0:
            return nominal
        predicted = self.nominal.step(state, action)
        applies = nominal.valid & same_sheet(self.system, predicted, next_state)
        x = torch.from_numpy(_rows(state, action))
        jacobian = _array(self.jacobian_share * self.residual.jacobian(x, self.member), state)
        jacobian = np.where(applies[..., None, None], jacobian.reshape(*state.shape, -1), 0.0)
        by_state, _ = self.system.reward_gradient(state, action, next_state, self.parameters)
        by_state = np.where(applies[..., None], by_state, 0.0)
        gradient = np.einsum("...i,...ij->...j", by_state, jacobian)
        n = state.shape[-1]
        return Linearization(
            nominal.A + jacobian[..., :n],
            nominal.B + jacobian[..., n:],
            nominal.r_s + gradient[..., :n],
            nominal.r_a + gradient[..., n:],
            nominal.valid,
        )


def same_sheet(system: "System", predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Whether states (..., n) are in the same coordinates (sheet, winding), bool (...)."""
    with np.errstate(invalid="ignore", over="ignore"):  # states that are not finite
        return (system.align(predicted, measured) == predicted).all(axis=-1)


def _rows(state: np.ndarray, action: np.ndarray) -> np.ndarray:
    rows = np.concatenate([state, action], axis=-1)
    return rows.reshape(-1, rows.shape[-1])


def _array(values: torch.Tensor, like: np.ndarray) -> np.ndarray:
    return values.cpu().numpy().astype(like.dtype, copy=False)

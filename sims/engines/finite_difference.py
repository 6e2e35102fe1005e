"""Jacobians of any step function, by centred differences in float64.

The method for black boxes (the "zeroth" order mode), and an oracle for exact Jacobians. In float32
such differences are noise: errors of 5 to 130 % are usual.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sims.engines.validity import predicts
from sims.model import NORM_BOUND, Linearization
from sims.system import System

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


class FiniteDifferenceModel:
    """A model of a black box that maps float64 states (N, n) and actions (N, m) to (N, n)."""

    def __init__(
        self,
        system: System,
        step: Step,
        parameters: Any = None,
        *,
        relative_step: float = 1e-5,
        norm_bound: float = NORM_BOUND,
        reach: float | None = None,
    ) -> None:
        """Makes a model of `step`.

        Args:
            system: The system that is modelled.
            step: Batched step function in float64.
            parameters: What `parameters` is to report.
            relative_step: Difference in coordinate x is this times its typical size, or |x| where
                that is more. The default
                balances rounding (1e-16 / step) against curvature (step squared).
            norm_bound: Norm of [A | B], in typical sizes, above which a row is invalid.
            reach: How far a Jacobian has to predict, see `sims.engines.validity`; 0 where nothing
                has kinks. None takes ten differences.
        """
        self._system = system
        self._step = step
        self._reach = 10.0 * relative_step if reach is None else reach
        self._parameters = parameters
        self._relative_step = relative_step
        self._norm_bound = norm_bound

    @property
    def system(self) -> System:
        """The system that is modelled."""
        return self._system

    @property
    def parameters(self) -> Any:
        """The parameter object of the step function."""
        return self._parameters

    def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The state after one control period, float32 (..., n), from (..., n) and (..., m)."""
        s, a = np.atleast_2d(state).astype(np.float64), np.atleast_2d(action).astype(np.float64)
        rows = self._step(s.reshape(-1, s.shape[-1]), a.reshape(-1, a.shape[-1]))
        return rows.astype(np.float32).reshape(state.shape)

    def linearize(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> Linearization:
        """Derivatives at measured transitions; see `sims.model.Linearization`.

        All differences are taken in the coordinates (MRP sheet) of the measured next state.
        """
        s, a, measured = (
            np.reshape(x, (-1, x.shape[-1])).astype(np.float64) for x in (state, action, next_state)
        )
        jacobian = self._jacobian(s, a, measured)
        return linearization(
            self._system, self._parameters, jacobian, s, a, measured, state.shape[:-1],
            self._norm_bound, self._step, self._reach,
        )  # fmt: skip

    def _jacobian(self, s: np.ndarray, a: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """[A | B] in float64, (B, n, n + m), from one call of the step function."""
        batch, n = s.shape
        size = n + a.shape[1]
        point = np.concatenate([s, a], axis=1)
        delta = self._relative_step * np.maximum(self._system.sizes, np.abs(point))  # (B, n + m)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            offsets = delta[:, :, None] * np.eye(size)  # row j moves coordinate j
            moved = point[:, None, None, :] + np.stack([offsets, -offsets], axis=1)
            moved = moved.reshape(-1, size)
            after = self._step(moved[:, :n], moved[:, n:]).reshape(batch, 2, size, n)
            after = self._system.align(after, np.broadcast_to(measured[:, None, None], after.shape))
            difference = (after[:, 0] - after[:, 1]) / (2.0 * delta[:, :, None])
        return np.swapaxes(difference, 1, 2)


def linearization(
    system: System,
    parameters: Any,
    jacobian: np.ndarray,
    state: np.ndarray,
    action: np.ndarray,
    measured: np.ndarray,
    lead: tuple[int, ...],
    norm_bound: float,
    step: Step,
    reach: float,
) -> Linearization:
    """Completes Jacobians by the reward's derivatives and by validity.

    Args:
        system: The system that is modelled.
        parameters: Parameter object, for the reward.
        jacobian: (N, n, n + m) [A | B] in float64; rows that are invalid become zero in place.
        state: (N, n) in float64.
        action: (N, m) in float64.
        measured: (N, n) measured next states in float64.
        lead: Batch dimensions of the result.
        norm_bound: Norm of [A | B], in typical sizes, above which a row is invalid.
        step: The step that was differentiated.
        reach: How far a Jacobian has to predict it; 0: that is not looked at.
    """
    n, m = state.shape[-1], action.shape[-1]
    by_state, by_action = system.reward_gradient(state, action, measured, parameters)
    with np.errstate(invalid="ignore", over="ignore"):
        gradient = np.einsum("bij,bi->bj", jacobian, by_state)
        gradient[:, n:] += by_action
        scaled = jacobian * (system.sizes / system.sizes[:n, None])
        norm = np.sqrt(np.sum(scaled**2, axis=(1, 2)))
        inputs = np.sum(state, axis=1) + np.sum(action, axis=1) + np.sum(measured, axis=1)
        finite = np.isfinite(inputs + np.sum(gradient, axis=1))
    valid = finite & (norm <= norm_bound)
    if reach > 0.0 and valid.any():
        valid &= predicts(system, step, jacobian, state, action, measured, reach)
    jacobian[~valid] = 0.0
    gradient[~valid] = 0.0
    jacobian, gradient = jacobian.astype(np.float32), gradient.astype(np.float32)
    return Linearization(
        jacobian[:, :, :n].reshape(*lead, n, n),
        jacobian[:, :, n:].reshape(*lead, n, m),
        gradient[:, :n].reshape(*lead, n),
        gradient[:, n:].reshape(*lead, m),
        valid.reshape(lead),
    )


def reward_differences(
    system: System,
    state: np.ndarray,
    action: np.ndarray,
    next_state: np.ndarray,
    parameters: Any = None,
    relative_step: float = 1e-5,
) -> tuple[np.ndarray, np.ndarray]:
    """dr/dnext_state (..., n) and dr/daction (..., m) of any reward, by centred differences.

    Zero for transitions that end their episode, and where the reward is not finite. The arguments
    are those of `System.reward_gradient`.
    """
    kind = next_state.dtype
    s, a, after = (np.asarray(x, np.float64) for x in (state, action, next_state))
    n = after.shape[-1]
    point = np.concatenate([after, a], axis=-1)
    delta = relative_step * np.maximum(system.sizes, np.abs(point))
    values = []
    with np.errstate(invalid="ignore", over="ignore"):
        offsets = delta[..., None, :] * np.eye(point.shape[-1])  # (..., n + m, n + m)
        for moved in (point[..., None, :] + offsets, point[..., None, :] - offsets):
            before = np.broadcast_to(s[..., None, :], (*moved.shape[:-1], s.shape[-1]))
            values.append(system.reward(before, moved[..., n:], moved[..., :n], parameters))
        gradient = (values[0] - values[1]) / (2.0 * delta)
    alive = ~np.asarray(system.terminated(s, a, after, parameters))[..., None]
    gradient = np.where(alive & np.isfinite(gradient), gradient, 0.0).astype(kind)
    return gradient[..., :n], gradient[..., n:]

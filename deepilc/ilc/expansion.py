"""The linear-quadratic problem of the paper's Eq. 4 around recorded trajectories."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepilc.ilc.rollout import Trajectory
from deepilc.ilc.rows import Rows
from sims.errors import UserError
from sims.model import Model
from sims.system import System

DIFFERENCE = 1e-4  # of the typical sizes: balances rounding against the third derivative


@dataclass(frozen=True)
class Expansion(Rows):
    """Dynamics to first and cost (minus reward) to second order, in units of typical sizes.

    The cost of a step is that of its next state and action, z = (s', a): as deviations from what
    was recorded, gradient . z + z . hessian z / 2.

    Attributes:
        A: (B, T, n, n) of ds' = A ds + B da, from the nominal model.
        B: (B, T, n, m)
        gradient: (B, T, n + m)
        hessian: (B, T, n + m, n + m) symmetric, no negative eigenvalue.
        low: (B, T, m) lowest deviation of the action that its bounds allow.
        high: (B, T, m) highest.
    """

    A: np.ndarray
    B: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    low: np.ndarray
    high: np.ndarray


def expand(system: System, model: Model, task: Any, recorded: Trajectory) -> Expansion:
    """Linearizes the model and quadratises the reward along recorded trajectories.

    Steps that did not happen, that ended their episode, or whose linearization is invalid say
    nothing: their matrices are zero.

    Args:
        system: The system.
        model: What is linearized: the nominal model g of Eq. 4, at states of the real system.
        task: Parameter object of the world, for the reward.
        recorded: Trajectories of the real system.

    Raises:
        UserError: The system delays its actions: its reward depends on what is part of the state.
    """
    if system.delay:
        raise UserError(f"iterative learning control knows no delay; {system.name} has one")
    n, sizes = system.state.size, system.sizes
    linear = model.linearize(recorded.state, recorded.action, recorded.next_state)
    alive = recorded.happened & ~recorded.ended
    known = (alive & linear.valid)[..., None, None]
    A = np.where(known, linear.A, 0.0) * (sizes[:n] / sizes[:n, None])
    B = np.where(known, linear.B, 0.0) * (sizes[n:] / sizes[:n, None])
    gradient, hessian = _cost(system, task, recorded)
    gradient = np.where(alive[..., None], gradient, 0.0)
    hessian = np.where(alive[..., None, None], hessian, 0.0)
    action = recorded.action.astype(np.float64)
    low = (system.action.low - action) / sizes[n:]
    high = (system.action.high - action) / sizes[n:]
    return Expansion(A, B, gradient, _convex(hessian), low, high)


def _cost(system: System, task: Any, recorded: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of minus the reward by (s', a), in units of typical sizes."""
    n, sizes = system.state.size, system.sizes
    before = recorded.state.astype(np.float64)
    point = np.concatenate([recorded.next_state, recorded.action], axis=-1).astype(np.float64)

    def slope(at: np.ndarray) -> np.ndarray:
        state = np.broadcast_to(before, (*at.shape[:-1], n))
        by_state, by_action = system.reward_gradient(state, at[..., n:], at[..., :n], task)
        return -np.concatenate([by_state, by_action], axis=-1) * sizes

    columns = []
    for j in range(len(sizes)):
        offset = np.zeros(len(sizes))
        offset[j] = DIFFERENCE * sizes[j]
        columns.append((slope(point + offset) - slope(point - offset)) / (2.0 * DIFFERENCE))
    hessian = np.stack(columns, axis=-1)
    return slope(point), 0.5 * (hessian + np.swapaxes(hessian, -1, -2))


def _convex(hessian: np.ndarray) -> np.ndarray:
    """The nearest symmetric matrices without negative eigenvalues: what Eq. 4 takes for granted."""
    values, vectors = np.linalg.eigh(hessian)
    result: np.ndarray = (vectors * np.maximum(values, 0.0)[..., None, :]) @ vectors.swapaxes(
        -1, -2
    )
    return result

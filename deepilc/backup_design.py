"""Designs the backup controller: a linear-quadratic regulator from the nominal model.

This is done once, before anything moves, since it needs the model (warp) and scipy, which the
bridge of a robot does without. It leaves a file of a few numbers that `deepilc.safety` applies.
"""

from typing import Any

import numpy as np

from deepilc.errors import UserError
from deepilc.safety import Backup
from sims.system import System

__all__ = ["design"]

STANDS_STILL = 0.02
"""Largest move of an equilibrium in one period, in typical sizes."""


def design(
    system: System,
    parameters: Any = "nominal",
    *,
    effort: float = 0.1,
    trim: np.ndarray | None = None,
) -> tuple[Backup, float]:
    """The regulator that brings a system to its equilibrium at the middle of its state space.

    It minimises the sum of |z|^2 + effort |v|^2, with states z and actions v as deviations in
    typical sizes, for the model linearized at the equilibrium (discrete Riccati equation).

    Args:
        system: The system; of a delayed one the action that acts is part of the state.
        parameters: Parameter set of the model.
        effort: Weight of the actions.
        trim: (m,) action that keeps the *real* system in equilibrium, where it is known; None takes
            the safe action. A wrong one leaves a lasting offset.

    Returns:
        The controller, and the largest modulus of the closed loop's eigenvalues (below 1).

    Raises:
        UserError: No equilibrium, a trim outside the bounds, or the system cannot be stabilised.
    """
    from scipy.linalg import LinAlgError, solve_discrete_are

    if not effort > 0.0:
        raise UserError(f"effort is {effort:g}; it must be positive")
    low, high = system.action.low, system.action.high
    hover = np.asarray(system.safe_action, np.float32)
    trimmed = hover if trim is None else np.asarray(trim, np.float32)
    if trimmed.shape != hover.shape or (trimmed < low).any() or (trimmed > high).any():
        raise UserError(
            f"trim is {trimmed.tolist()}; it must be {len(hover)} numbers within {low.tolist()} .. "
            f"{high.tolist()}"
        )
    m, n = len(hover), system.state.size
    target = np.array(system.state.center, np.float32)
    if system.delay:
        target[n - m :] = hover
    model = system.model(parameters)
    after = model.step(target[None], hover[None])[0]
    moved = float(np.abs((after - target) / system.state.scale).max())
    if not moved < STANDS_STILL:
        raise UserError(
            f"{system.name} does not rest at the middle of its state space under the safe action "
            f"(it moves by {moved:.3g} typical sizes per period), so there is no point to regulate "
            "it to; use a constant safe action"
        )
    linear = model.linearize(target[None], hover[None], after[None])
    A, B = linear.A[0].astype(np.float64), linear.B[0].astype(np.float64)
    weight = np.asarray(system.state.scale, np.float64) ** -2
    if system.delay:
        weight[n - m :] = 0.0  # it is charged as an action already
    Q = np.diag(weight)
    R = effort * np.diag(np.asarray(system.action.scale, np.float64) ** -2)
    try:
        P = solve_discrete_are(A, B, Q, R)
    except (LinAlgError, ValueError) as error:
        raise UserError(f"{system.name} cannot be stabilised by its actions: {error}") from None
    gain = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    radius = float(np.abs(np.linalg.eigvals(A - B @ gain)).max())
    if not radius < 1.0:
        raise UserError(f"the regulator of {system.name} is not stable (radius {radius:.4g})")
    goal = target.astype(np.float64)
    if system.delay:
        goal[n - m :] = trimmed
    return (
        Backup(system.name, system.spec_hash, gain, goal, trimmed.astype(np.float64), low, high),
        radius,
    )

"""Whether a Jacobian predicts its neighbourhood: the check that finds kinks and jumps."""

from collections.abc import Callable
from functools import cache

import numpy as np

from sims.system import System

# How far an exact Jacobian has to predict, in typical sizes.
REACH = 1e-3
# Share of the larger change by which prediction and step may differ.
TOLERANCE = 0.5


def predicts(
    system: System,
    step: Callable[[np.ndarray, np.ndarray], np.ndarray],
    jacobian: np.ndarray,
    state: np.ndarray,
    action: np.ndarray,
    next_state: np.ndarray,
    reach: float,
) -> np.ndarray:
    """Whether steps to both sides of a transition end where its Jacobian says, bool (B,).

    Exact Jacobians are one-sided at a kink and blind to a jump (a foot that touches down, a motor
    that starts), differences straddle both, and no norm tells. So every coordinate is moved forth,
    and back, by `reach` times its typical size, all at once and in signs that are the same for
    every row: a row's verdict does not depend on the others. Where on either side the change of
    the scaled next state and the Jacobian's prediction are further apart than half of the larger,
    the Jacobian says nothing of use about that side. Where the step is smooth that takes a
    derivative that changes by about its own size within the distance.

    One direction does not see kinks that matter little along it, and a kink further away than the
    move is none: this is a check of what is used, not a proof of smoothness.

    Args:
        system: Gives typical sizes, bounds of actions, and windings or sheets.
        step: The model's step in float64, for 3 B rows: moved forth, moved back, and as they are.
        jacobian: (B, n, n + m) [A | B] in the coordinates of `next_state`.
        state: (B, n)
        action: (B, m); moves end at its bounds, beyond which nothing was meant to happen.
        next_state: (B, n)
        reach: Distance of each side in typical sizes.
    """
    n = system.state.size
    moves, low, high, scale = _moves(system, reach)
    point = np.concatenate([state, action], axis=1, dtype=np.float64)
    points = (point + moves).clip(np.minimum(low, point), np.maximum(high, point))
    states = points[..., :n]
    with np.errstate(invalid="ignore", over="ignore"):
        after = step(states.reshape(-1, n), points[..., n:].reshape(len(moves) * len(point), -1))
        after = after.reshape(states.shape)
        after = system.align(after, np.broadcast_to(next_state, after.shape))
        found = (after[:2] - after[2]) / scale
        predicted = np.matmul(jacobian, (points[:2] - point)[..., None])[..., 0] / scale
        size = np.maximum(_square(found), _square(predicted))
        good = _square(found - predicted) <= TOLERANCE**2 * size  # False for NaN
    return good[0] & good[1]


def _square(rows: np.ndarray) -> np.ndarray:
    return np.add.reduce(rows * rows, axis=-1)


@cache
def _moves(system: System, reach: float) -> tuple[np.ndarray, ...]:
    """Moves of states and actions (3, 1, n + m), their bounds, and typical sizes of states.

    The signs are the Thue-Morse sequence: no pattern that mirrored joints could share. States may
    go anywhere. All in float64.
    """
    sizes = system.sizes
    signs = np.array([1.0 - 2.0 * (i.bit_count() % 2) for i in range(len(sizes))])
    forth = reach * signs * sizes
    anywhere = np.full(system.state.size, np.inf)
    low = np.concatenate([-anywhere, system.action.low])
    high = np.concatenate([anywhere, system.action.high])
    moves = np.stack([forth, -forth, 0.0 * forth])[:, None, :]
    return moves, low, high, system.state.scale.astype(np.float64)

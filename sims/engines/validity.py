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
    forth, low, high = _moves(system)
    s, a = np.asarray(state, np.float64), np.asarray(action, np.float64)
    by_state, by_action = reach * forth[:n], reach * forth[n:]
    low, high = np.minimum(low, a), np.maximum(high, a)
    actions = np.stack([(a + by_action).clip(low, high), (a - by_action).clip(low, high), a])
    states = np.stack([s + by_state, s - by_state, s])
    with np.errstate(invalid="ignore", over="ignore"):
        after = step(states.reshape(-1, n), actions.reshape(-1, a.shape[1])).reshape(states.shape)
        after = system.align(after, np.broadcast_to(next_state, after.shape))
        found = (after[:2] - after[2]) / system.state.scale
        moves = np.concatenate([states[:2] - s, actions[:2] - a], axis=2)
        predicted = np.matmul(jacobian, moves[..., None])[..., 0] / system.state.scale
        size = np.maximum(_square(found), _square(predicted))
        good = _square(found - predicted) <= TOLERANCE**2 * size  # False for NaN
    return good[0] & good[1]


def _square(rows: np.ndarray) -> np.ndarray:
    return np.add.reduce(rows * rows, axis=-1)


@cache
def _moves(system: System) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Typical sizes of states and actions with fixed signs; bounds of actions; in float64.

    The signs are the Thue-Morse sequence: no pattern that mirrored joints could share.
    """
    sizes = np.concatenate([system.state.scale, system.action.scale]).astype(np.float64)
    signs = np.array([1.0 - 2.0 * (i.bit_count() % 2) for i in range(len(sizes))])
    low, high = (b.astype(np.float64) for b in (system.action.low, system.action.high))
    return signs * sizes, low, high

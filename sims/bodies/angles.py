"""Angles in arrays: within one turn, and in the winding nearest to another."""

import numpy as np

TURN = 2.0 * np.pi


def wrap(angle: np.ndarray, low: float) -> np.ndarray:
    """The angle plus whole turns, within [low, low + 2 pi)."""
    return low + np.mod(angle - low, TURN)


def nearest(angle: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The angle plus whole turns, as near to `reference` as it gets."""
    with np.errstate(invalid="ignore"):
        return angle + TURN * np.round((reference - angle) / TURN)

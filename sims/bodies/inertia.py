"""Inertia tensors: which are possible, and how one is changed so that it stays possible."""

from collections.abc import Sequence

import numpy as np

from sims.errors import UserError


def check_inertia(tensor: np.ndarray) -> None:
    """Refuses what is the inertia of no body.

    Args:
        tensor: (3, 3) in kg m^2.

    Raises:
        UserError: It is not symmetric, or a principal moment is negative or exceeds the sum of the
            other two.
    """
    second_moments = 0.5 * np.trace(tensor) * np.eye(3) - tensor
    if not np.array_equal(tensor, tensor.T) or np.linalg.eigvalsh(second_moments)[0] < 0.0:
        raise UserError(
            f"inertia {tensor.tolist()} is that of no body: it must be symmetric, positive "
            "and no principal moment may exceed the sum of the other two"
        )


def scaled_inertia(
    inertia: Sequence[Sequence[float]] | np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """Inertia (3, 3) after scaling the body's second moments by (3,) factors."""
    tensor = np.array(inertia, np.float64)
    root = np.sqrt(factors)
    moments = (0.5 * np.trace(tensor) * np.eye(3) - tensor) * np.outer(root, root)
    return np.trace(moments) * np.eye(3) - moments

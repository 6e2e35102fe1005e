"""Jacobians of a whole dataset, in batches."""

from collections.abc import Iterator

import numpy as np

from deepilc.bags.dataset import Rows
from sims.model import Linearization, Model

__all__ = ["BATCH", "linearized"]

BATCH = 4096
"""Rows linearized at a time."""


def linearized(rows: Rows, model: Model, batch: int = BATCH) -> Iterator[tuple[int, Linearization]]:
    """Linearizes all rows with a model.

    Args:
        rows: See `Rows`.
        model: The nominal model.
        batch: Rows at a time.

    Yields:
        First row of the batch, and its linearizations.
    """
    for first in range(0, len(rows), batch):
        part = slice(first, first + batch)
        after = rows.next_state[part]
        finite = np.isfinite(after).all(1)
        if not finite.all():  # the end of an episode; nothing is learned from its Jacobian
            after = np.where(finite[:, None], after, rows.state[part])
        result = model.linearize(rows.state[part], rows.action[part], after)
        valid = np.asarray(result.valid) & finite
        yield first, result._replace(valid=valid)

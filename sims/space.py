"""Vector spaces in physical units: names, units, bounds and typical sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sims.errors import UserError


@dataclass(frozen=True, eq=False)
class Space:
    """A vector space in physical units.

    Attributes:
        names: One name per coordinate, in order.
        units: One unit per coordinate.
        low: (n,) lower bounds, -inf where there is none.
        high: (n,) upper bounds, inf where there is none.
        center: (n,) origin of the fixed scaling z = (x - center) / scale that learners use.
        scale: (n,) positive scale of that scaling.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    center: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        """Checks lengths and freezes the arrays; one number stands for n."""
        size = len(self.names)
        if len(self.units) != size or len(set(self.names)) != size:
            raise UserError(f"{size} names {self.names} need one unit each and must be distinct")
        for field in ("low", "high", "center", "scale"):
            value = np.array(getattr(self, field), np.float32)
            value = np.full(size, value) if value.ndim == 0 else value
            if value.shape != (size,) or np.isnan(value).any():
                raise UserError(f"{field} has shape {value.shape}; it needs {size} numbers")
            value.flags.writeable = False
            object.__setattr__(self, field, value)
        if not (np.all(self.low < self.high) and np.all(self.scale > 0.0)):
            raise UserError("a space needs low < high and scale > 0 in every coordinate")

    @classmethod
    def bounded(
        cls, names: Sequence[str], units: Sequence[str], low: ArrayLike, high: ArrayLike
    ) -> "Space":
        """A space that is scaled to -1..1 between its finite bounds, each (n,) or one number."""
        lows, highs = np.asarray(low, np.float64), np.asarray(high, np.float64)
        center, scale = np.asarray(0.5 * (lows + highs)), np.asarray(0.5 * (highs - lows))
        return cls(tuple(names), tuple(units), lows, highs, center, scale)

    @classmethod
    def unbounded(
        cls, names: Sequence[str], units: Sequence[str], scale: ArrayLike, center: ArrayLike = 0.0
    ) -> "Space":
        """A space without bounds; scale and center are (n,) or one number."""
        end = np.array(np.inf)
        return cls(tuple(names), tuple(units), -end, end, np.asarray(center), np.asarray(scale))

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.names)

"""From raw numbers of an entry to coordinates of the system's state."""

import math
from collections.abc import Callable, Sequence

from deepilc.robot import rotations
from deepilc.robot.mapping import Attitude, Numbers, Vector

__all__ = ["Coordinates", "coordinates"]

Raw = Sequence[float]
Coordinates = Callable[[Raw, Raw | None], Raw]
"""Raw numbers of one entry and the attitude (w x y z, FLU to ENU; None: unknown) to one number for
each of the entry's states."""


def coordinates(entry: Numbers | Vector | Attitude) -> Coordinates:
    """The function for one entry. Of an attitude it keeps the one before, for continuity."""
    if isinstance(entry, Numbers):
        return lambda raw, attitude: raw
    if isinstance(entry, Attitude):
        return _attitude(entry)
    turned, back = entry.into not in (None, entry.frame), entry.into == "body"
    offset = entry.offset

    def vector(raw: Raw, attitude: Raw | None) -> Raw:
        if turned:
            if attitude is None:
                return (math.nan,) * 3
            raw = rotations.rotate(attitude, raw, back=back)
        return raw if offset is None else [a + b for a, b in zip(raw, offset, strict=True)]

    return vector


def _attitude(entry: Attitude) -> Coordinates:
    if entry.representation == "euler":
        return lambda raw, attitude: rotations.euler(raw)
    mrp = entry.representation == "mrp"
    nearest = rotations.continuous_mrp if mrp else rotations.continuous_quaternion
    previous: Raw | None = None

    def continuous(raw: Raw, attitude: Raw | None) -> Raw:
        nonlocal previous
        previous = nearest(raw, previous)
        return previous

    return continuous

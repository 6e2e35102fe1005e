"""The numbers of a parameter set as unknowns of a fit.

Every number gets one unknown t, 0 at the start: a number that must not be negative is p exp(t) (so
that t is a relative change), any other p + |p| t, and a zero 0 + t. A square matrix such as an
inertia J is D J D with D = diag(exp(t / 2)), which keeps it symmetric and positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from deepilc.errors import UserError, suggestion
from sims.system import System

__all__ = ["Unknown", "bounds_of", "parameters_at", "unknowns_of", "value_at"]

LARGEST = 3.0
"""Bound of |t|: a factor of 20 for positive numbers."""


@dataclass(frozen=True)
class Unknown:
    """One number to fit.

    Attributes:
        name: Such as "mass", "drag_areas[2]" or "inertia[0]" (axis of a matrix).
        field: Field of the parameter set.
        index: Place in a tuple or axis of a matrix; None for a plain number.
        start: Its value at t = 0.
        relative: Whether it is start * exp(t).
    """

    name: str
    field: str
    index: int | None
    start: float
    relative: bool

    @property
    def scale(self) -> float:
        """What t = 1 adds, for numbers that are not relative."""
        return abs(self.start) or 1.0


def unknowns_of(system: System, base: str, names: Sequence[str] | None = None) -> list[Unknown]:
    """The numbers of a parameter set that can be fitted.

    Args:
        system: The system.
        base: Name of the set, or a file.
        names: Fields, or single numbers as "drag_areas[2]"; None takes all that are numbers.

    Raises:
        UserError: No such number.
    """
    parameters = system.parameters(base)
    known = [
        unknown
        for field in fields(parameters)
        if field.metadata.get("randomise", True)
        for unknown in _unknowns(parameters, field.name)
    ]
    if names is None:
        return known
    allowed = dict.fromkeys(name for unknown in known for name in (unknown.field, unknown.name))
    for name in names:
        if name not in allowed:
            raise UserError(f"{system.name} has no parameter {name!r}{suggestion(name, allowed)}")
    return [unknown for unknown in known if unknown.field in names or unknown.name in names]


def _unknowns(parameters: Any, field: str) -> list[Unknown]:
    value = getattr(parameters, field)
    if isinstance(value, float):
        relative = value > 0.0 and not _may_be(parameters, field, -value)
        return [Unknown(field, field, None, value, relative)]
    array = _numbers(value)
    if array is None or array.ndim > 2 or (array.ndim == 2 and array.shape[0] != array.shape[1]):
        return []
    if array.ndim == 2:
        return [
            Unknown(f"{field}[{i}]", field, i, float(array[i, i]), True) for i in range(len(array))
        ]
    return [
        Unknown(f"{field}[{i}]", field, i, float(x), bool(x > 0.0)) for i, x in enumerate(array)
    ]


def _numbers(value: Any) -> np.ndarray | None:
    """A tuple (of tuples) of floats as an array; None for anything else."""
    if not isinstance(value, tuple) or not value:
        return None
    try:
        array = np.array(value)
    except ValueError:
        return None
    return array if array.dtype == np.float64 else None


def _may_be(parameters: Any, field: str, value: float) -> bool:
    try:
        replace(parameters, **{field: value})
    except UserError:
        return False
    return True


def parameters_at(parameters: Any, unknowns: Sequence[Unknown], t: np.ndarray) -> Any:
    """The parameter set at t (k,).

    Raises:
        UserError: The set refuses these values.
    """
    changed: dict[str, Any] = {}
    for unknown, step in zip(unknowns, t, strict=True):
        value = unknown.start * np.exp(step) if unknown.relative else None
        if value is None:
            value = unknown.start + unknown.scale * step
        if unknown.index is None:
            changed[unknown.field] = float(value)
            continue
        held = changed.setdefault(unknown.field, np.array(getattr(parameters, unknown.field)))
        if held.ndim == 2:
            root = np.exp(0.5 * step)
            held[unknown.index, :] *= root
            held[:, unknown.index] *= root
        else:
            held[unknown.index] = value
    plain = {
        name: _tuples(value) if isinstance(value, np.ndarray) else value
        for name, value in changed.items()
    }
    return replace(parameters, **plain)


def _tuples(array: np.ndarray) -> tuple[Any, ...]:
    if array.ndim == 2:
        array = 0.5 * (array + array.T)  # exactly symmetric
    return tuple(_tuples(row) if row.ndim else float(row) for row in array)


def value_at(unknown: Unknown, t: float) -> float:
    """The number itself."""
    if unknown.relative:
        return float(unknown.start * np.exp(t))
    return unknown.start + unknown.scale * float(t)


def bounds_of(parameters: Any, unknowns: Sequence[Unknown]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest t (k,); a number that must not be negative is not."""
    low = np.full(len(unknowns), -LARGEST)
    high = np.full(len(unknowns), LARGEST)
    for i, unknown in enumerate(unknowns):
        if unknown.relative:
            continue
        if unknown.index is None and not _may_be(parameters, unknown.field, -1.0 - unknown.scale):
            low[i] = -unknown.start / unknown.scale
        if unknown.start == 0.0:
            high[i] = 1e3
    return low, high

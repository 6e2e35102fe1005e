"""Many messages as one, whose numbers are columns, so that a profile reads them all at once."""

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

from deepilc.bags.cdr import Group
from deepilc.robot.fields import Column, steps

__all__ = ["messages"]


def messages(group: Group, discrete: Collection[str]) -> Iterator[tuple[np.ndarray, Any]]:
    """Messages of a group that have the same values in some fields, as one message each.

    Args:
        group: Messages of the same layout.
        discrete: Paths of the fields that must be the same, such as names and frames.

    Yields:
        Which of the decoded messages, (k,); an object with the fields of their type. Its numbers
        are (k,) columns, arrays are lists of columns, and what is discrete has its plain value.
    """
    keys = [path for path in group.values if any(_of(path, other) for other in discrete)]
    kind = np.zeros(len(group.rows), np.int64)
    for path in keys:
        values = group.values[path].reshape(len(kind), -1)
        _, which = np.unique(values, axis=0, return_inverse=True)
        _, kind = np.unique(kind * len(kind) + which.reshape(-1), return_inverse=True)
    for number in range(int(kind.max(initial=-1)) + 1):
        mine = np.flatnonzero(kind == number)
        fields = {path: value[mine] for path, value in group.values.items()}
        yield group.rows[mine], _message(fields, keys)


def _of(path: str, other: str) -> bool:
    """Whether the one field is the other, or an element of it."""
    return path == other or path.startswith(f"{other}[") or other.startswith(f"{path}[")


def _message(values: Mapping[str, np.ndarray], discrete: Collection[str]) -> Any:
    root = SimpleNamespace()
    for path, value in values.items():
        way = steps(path)
        place: Any = root
        for step, after in pairwise(way):
            place = _entered(place, step, [] if isinstance(after, int) else SimpleNamespace())
        _entered(place, way[-1], _plain(value[0]) if path in discrete else _columns(value))
    return root


def _entered(place: Any, step: str | int, new: Any) -> Any:
    """What is at a field or element; `new` where nothing is yet. Elements come in order."""
    if isinstance(step, str):
        return place.__dict__.setdefault(step, new)
    if step == len(place):
        place.append(new)
    return place[step]


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value.tolist()


def _columns(value: np.ndarray) -> Any:
    return value.view(Column) if value.ndim == 1 else [each.view(Column) for each in value.T]

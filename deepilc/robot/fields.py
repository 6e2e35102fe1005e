"""Fields of messages by path, such as `pose.pose.position` or `poses[0].position.x`.

A message is any object with the attributes of its type; nothing here knows ROS.
"""

import array
import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

__all__ = [
    "MALFORMED",
    "PATTERN",
    "Column",
    "FieldError",
    "getter",
    "number",
    "put",
    "put_numbers",
    "seconds",
    "steps",
]

PATTERN = r"^[A-Za-z_]\w*(\[\d+\])*(\.[A-Za-z_]\w*(\[\d+\])*)*$"
_STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+)\]")
_INTEGERS = "bBhHiIlLqQ"


class FieldError(ValueError):
    """A message does not have what a path names; the text says what it has."""


class Column(np.ndarray):
    """One number of each of many messages that are read at once, (k,), in place of the number."""


MALFORMED = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError)
"""What reading a message can raise, whatever is in it."""


def steps(path: str) -> list[str | int]:
    """Names and indices of a path, from the message down."""
    return [name or int(index) for name, index in _STEP.findall(path)]


def _walk(message: Any, way: Sequence[str | int], path: str) -> Any:
    found = message
    for step in way:
        try:
            found = getattr(found, step) if isinstance(step, str) else found[step]
        except AttributeError:
            raise FieldError(
                f"no field {path!r}: {type(found).__name__} has "
                f"{', '.join(_names(found)) or 'none'}"
            ) from None
        except (IndexError, TypeError):
            size = len(found) if hasattr(found, "__len__") else "no"
            raise FieldError(f"no element {path!r}: {size} elements") from None
    return found


def _names(found: Any) -> list[str]:
    """Field names of a message, as rosidl or a plain object tells them."""
    listed = getattr(found, "get_fields_and_field_types", None)
    return list(listed()) if callable(listed) else list(getattr(found, "__dict__", ()))


def getter(path: str) -> Callable[[Any], Any]:
    """A function that reads the field at a path.

    Raises (the function):
        FieldError: The message has no such field or element.
    """
    way = steps(path)
    quick = attrgetter(path) if "[" not in path else None

    def get(message: Any) -> Any:
        if quick is not None:
            try:
                return quick(message)
            except AttributeError:
                pass  # said below, with what there is
        return _walk(message, way, path)

    return get


def number(value: Any) -> Any:
    """A field as a float; a `Column` as a column of float64.

    Raises:
        TypeError: It is no number.
    """
    return value.astype(np.float64) if isinstance(value, Column) else float(value)


def put(message: Any, path: str, value: Any) -> None:
    """Writes a field; a list goes into an array as a whole.

    Raises:
        FieldError: The message has no such field.
    """
    *parents, last = steps(path)
    parent = _walk(message, parents, path)
    current = _walk(parent, [last], path)
    if isinstance(current, float) and isinstance(value, int):
        value = float(value)
    if isinstance(current, array.array):
        value = array.array(current.typecode, value)
    try:
        if isinstance(last, str):
            setattr(parent, last, value)
        else:
            parent[last] = value
    except (AssertionError, TypeError, ValueError, OverflowError) as error:
        raise FieldError(f"field {path!r} does not take {value!r}: {error}") from None


def put_numbers(
    message: Any,
    path: str,
    values: Sequence[float],
    index: Sequence[int] | None = None,
    unused: float = 0.0,
) -> None:
    """Writes numbers into a scalar field, or into elements of an array.

    Args:
        message: Where to.
        path: Scalar field, or array.
        values: One number for a scalar field, else one per index. Rounded for fields of integers.
        index: Elements; an array without a fixed size grows as far as needed. None: scalar field.
        unused: What the other elements of the array become.

    Raises:
        FieldError: No such field, or an array of fixed size that is too short.
    """
    *parents, last = steps(path)
    parent = _walk(message, parents, path)
    current = _walk(parent, [last], path)
    if index is None:
        value: float | int = float(values[0])
        if isinstance(current, int) and not isinstance(current, bool):
            value = round(value)
        elif not isinstance(current, float):
            raise FieldError(f"field {path!r} is a {type(current).__name__}, not a number")
        if isinstance(last, str):
            setattr(parent, last, value)
        else:
            parent[last] = value
        return
    size = max(index) + 1
    whole = isinstance(current, array.array) and current.typecode in _INTEGERS
    if isinstance(current, np.ndarray):
        if len(current) < size:
            raise FieldError(f"field {path!r} has {len(current)} elements, not {size}")
        whole = bool(np.issubdtype(current.dtype, np.integer))
        current[:] = round(unused) if whole else unused
    elif isinstance(current, array.array | list):
        size = max(size, len(current))
        filler: Any = [round(unused) if whole else unused] * size
        current[:] = (
            array.array(current.typecode, filler) if isinstance(current, array.array) else filler
        )
    else:
        raise FieldError(f"field {path!r} is a {type(current).__name__}, not an array")
    for i, number in zip(index, values, strict=True):
        current[i] = round(number) if whole else float(number)


def seconds(stamp: Any, factor: float = 1.0) -> Any:
    """A stamp (or a column) in s: `builtin_interfaces/Time`, or a number times `factor`."""
    if hasattr(stamp, "nanosec"):
        return number(stamp.sec) + 1e-9 * number(stamp.nanosec)
    return number(stamp) * factor

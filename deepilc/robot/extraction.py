"""From a message to raw numbers: one small function per entry of a profile.

The same functions read one message or many at once, whose numbers are columns (see `Column`).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from deepilc.robot import rotations
from deepilc.robot.fields import FieldError, getter, number
from deepilc.robot.mapping import UNITS, Attitude, Numbers, Vector, each

__all__ = ["Extract", "extractor"]

Extract = Callable[[Any], tuple[Any, ...]]
"""Message to numbers in SI units: states of `Numbers`, x y z of `Vector`, w x y z of `Attitude`.
Vectors and attitudes are in ENU and FLU. Raises FieldError."""


def extractor(entry: Numbers | Vector | Attitude, world: str, body: str) -> Extract:
    """The function that reads one entry of a source in the frames `world` and `body`.

    Vectors and attitudes come out in ENU and FLU. Numbers come out as floats, or as columns.
    """
    if isinstance(entry, Numbers):
        return _numbers(entry)
    return _measured(_geometric(entry, world, body), entry.field)


def _geometric(entry: Vector | Attitude, world: str, body: str) -> Extract:
    read = getter(entry.field)
    factor = UNITS[entry.unit] if entry.unit else 1.0
    path = entry.field
    if isinstance(entry, Vector):

        def vector(message: Any) -> tuple[Any, ...]:
            v = tuple(factor * component for component in _named(read(message), "xyz", path))
            if entry.frame == "world":
                return rotations.world_vector(v, world)
            return rotations.body_vector(v, body)

        return vector
    if entry.given == "euler":

        def from_euler(message: Any) -> tuple[Any, ...]:
            roll, pitch, yaw = (factor * angle for angle in _angles(read(message), path))
            return rotations.quaternion_in(rotations.from_euler(roll, pitch, yaw), world, body)

        return from_euler

    def attitude(message: Any) -> tuple[Any, ...]:
        q = _quaternion(read(message), entry.order, path)
        return rotations.quaternion_in(q, world, body)

    return attitude


def _measured(extract: Extract, path: str) -> Extract:
    """NaN where a covariance beside the field says that it is not measured.

    REP 145 and sensor_msgs/Imu: the first element of `orientation_covariance` is -1 in messages of
    a device without orientation, whose quaternion is often the identity, as of a level robot.
    """
    read = getter(f"{path}_covariance")
    there = True

    def measured(message: Any) -> tuple[Any, ...]:
        nonlocal there
        found = extract(message)
        if not there:
            return found
        try:
            first = read(message)[0]
        except (FieldError, IndexError, TypeError):  # messages of one topic are of one type
            there = False
            return found
        unknown = first == -1.0
        if isinstance(unknown, np.ndarray):  # columns
            return tuple(np.where(unknown, math.nan, value) for value in found)
        return (math.nan,) * len(found) if unknown else found

    return measured


def _numbers(entry: Numbers) -> Extract:
    size = len(entry.states)
    factor = UNITS[entry.unit] if entry.unit else 1.0
    scales = tuple(factor * scale for scale in each(entry.scale, size))
    offsets = each(entry.offset, size)
    read, path, index = getter(entry.field), entry.field, entry.index
    low = entry.wrap

    def made(raw: tuple[Any, ...]) -> tuple[Any, ...]:
        values = [a * b + c for a, b, c in zip(raw, scales, offsets, strict=True)]
        if low is not None:
            values = [_wrapped(v, low) for v in values]
        return tuple(values)

    if entry.joints is not None:
        joints, read_names = entry.joints, getter(entry.names)

        def by_name(message: Any) -> tuple[Any, ...]:
            names, values = list(read_names(message)), read(message)
            try:
                places = [names.index(joint) for joint in joints]
            except ValueError:
                missing = next(joint for joint in joints if joint not in names)
                raise FieldError(
                    f"no joint {missing!r}: there is {', '.join(names) or 'none'}"
                ) from None
            return made(_elements(values, places, path))

        return by_name
    if index is not None:
        return lambda message: made(_elements(read(message), index, path))

    def scalar(message: Any) -> tuple[Any, ...]:
        value = read(message)
        try:
            return made((number(value),))
        except TypeError:
            raise FieldError(f"field {path!r} is a {type(value).__name__}, not a number") from None

    return scalar


_TURN = 2.0 * math.pi


def _wrapped(angle: Any, low: float) -> Any:
    """The angle plus whole turns, within [low, low + 2 pi); NaN where it is not finite."""
    with np.errstate(invalid="ignore"):
        return low + np.fmod(np.fmod(angle - low, _TURN) + _TURN, _TURN)


def _elements(values: Any, index: Any, path: str) -> tuple[Any, ...]:
    try:
        return tuple(number(values[i]) for i in index)
    except (IndexError, TypeError):
        size = len(values) if hasattr(values, "__len__") else "no"
        raise FieldError(
            f"field {path!r} has {size} elements, {max(index) + 1} are needed"
        ) from None


def _named(found: Any, components: str, path: str) -> tuple[Any, ...]:
    """Components by their names, or the first elements of an array."""
    if hasattr(found, components[0]):
        try:
            return tuple(number(getattr(found, name)) for name in components)
        except AttributeError:
            pass
    if not hasattr(found, "__len__"):
        raise FieldError(
            f"field {path!r} is a {type(found).__name__}, neither an array nor with "
            f"{', '.join(components)}"
        )
    return _elements(found, range(len(components)), path)


def _angles(found: Any, path: str) -> tuple[Any, ...]:
    if hasattr(found, "roll"):
        return number(found.roll), number(found.pitch), number(found.yaw)
    return _named(found, "xyz", path)


def _quaternion(found: Any, order: str | None, path: str) -> tuple[Any, Any, Any, Any]:
    """Unit quaternion, w first; NaN where it is none."""
    if hasattr(found, "w"):
        w, x, y, z = number(found.w), number(found.x), number(found.y), number(found.z)
    elif order is None:
        raise FieldError(f"field {path!r} has no x, y, z, w: an array needs order: xyzw or wxyz")
    else:
        a, b, c, d = _elements(found, range(4), path)
        w, x, y, z = (a, b, c, d) if order == "wxyz" else (d, a, b, c)
    norm = np.sqrt(w * w + x * x + y * y + z * z)
    norm = np.where(abs(norm - 1.0) <= 0.05, norm, math.nan)  # an empty one is all zeros
    return w / norm, x / norm, y / norm, z / norm

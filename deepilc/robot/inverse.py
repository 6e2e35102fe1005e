"""States to messages, commands to actions: a profile read backwards, for a robot that is not real.

Written apart from `deepilc.robot.extraction` and with scipy's rotations, so that the two check each
other.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc.robot.fields import getter, number, put, put_numbers
from deepilc.robot.mapping import UNITS, Attitude, Numbers, Vector, each
from deepilc.robot.profile import Command, Profile, Source, Stamp
from sims.system import System

if TYPE_CHECKING:  # scipy is not among what a robot that only acts needs
    from scipy.spatial.transform import Rotation

__all__ = ["NOT_FINITE", "commanded", "read_command", "write_source"]

NOT_FINITE = "a command is not finite"

# rows: the axes of the one frame in those of the other; both matrices are their own inverses
_NED = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
_FRD = np.diag([1.0, -1.0, -1.0])


def write_source(
    profile: Profile, source: Source, system: System, state: np.ndarray, stamp: float, message: Any
) -> None:
    """Fills a message as a driver would.

    Args:
        profile: The robot.
        source: What one topic means.
        system: Gives the state's names.
        state: (n,) what is measured.
        stamp: Time (s) for the stamp, where the source has one.
        message: Empty message of the source's type.

    Raises:
        FieldError: The message lacks a field.
    """
    from scipy.spatial.transform import Rotation

    values = {name: float(state[i]) for i, name in enumerate(system.state.names)}
    to_world = _NED if source.world == "NED" else np.eye(3)
    to_body = _FRD if source.body == "FRD" else np.eye(3)
    attitude = _attitude(profile, values)
    for path, constant in source.expect.items():
        put(message, path, constant)
    joints: dict[str, list[tuple[str, float, str]]] = {}
    for entry in source.state:
        if isinstance(entry, Numbers):
            _numbers(entry, values, message, joints)
        elif isinstance(entry, Vector):
            v = np.array([values.get(name, 0.0) if name else 0.0 for name in entry.states])
            v -= np.zeros(3) if entry.offset is None else np.array(entry.offset)
            if entry.into not in (None, entry.frame):
                v = attitude.apply(v, inverse=entry.into == "world")
            v = (to_world if entry.frame == "world" else to_body) @ v
            _spread(message, entry.field, v / (UNITS[entry.unit] if entry.unit else 1.0), "xyz")
        else:
            matrix = to_world @ attitude.as_matrix() @ to_body
            _write_attitude(message, entry, Rotation.from_matrix(matrix))
    for names, found in joints.items():
        _write_joints(message, names, found)
    _write_stamp(message, source, stamp)


def read_command(command: Command, system: System, message: Any, action: np.ndarray) -> None:
    """Takes from a command what it says about the action (m,), in place; the rest stays.

    Raises:
        FieldError: The message lacks a field.
        ValueError: A number is not finite, or an array too short.
    """
    places, numbers = commanded(command, system, message)
    if not np.isfinite(numbers).all():
        raise ValueError(NOT_FINITE)
    action[places] = numbers


def commanded(command: Command, system: System, message: Any) -> tuple[list[int], np.ndarray]:
    """What a command says about the action, or many commands at once, whose numbers are columns.

    Returns:
        Which of the actions; their values (k,), or (k, messages).

    Raises:
        FieldError: The message lacks a field.
        ValueError: An array is too short.
    """
    places, found = [], []
    for entry in command.action:
        field = getter(entry.field)(message)
        if entry.index is not None and len(field) <= max(entry.index):
            raise ValueError(f"{entry.field} has {len(field)} elements")
        numbers = [field] if entry.index is None else [field[i] for i in entry.index]
        unit, size = UNITS[entry.unit] if entry.unit else 1.0, len(entry.actions)
        places += [system.action.names.index(name) for name in entry.actions]
        found += [
            (number(value) * unit - offset) / scale
            for value, offset, scale in zip(
                numbers, each(entry.offset, size), each(entry.scale, size), strict=True
            )
        ]
    return places, np.array(found)


def _attitude(profile: Profile, values: dict[str, float]) -> "Rotation":
    """Body FLU to world ENU, from the states that any source has it in."""
    from scipy.spatial.transform import Rotation

    for source in profile.sources.values():
        for entry in source.state:
            if isinstance(entry, Attitude) and any(entry.states):
                numbers = [values[name] if name else 0.0 for name in entry.states]
                if entry.representation == "mrp":
                    return Rotation.from_mrp(numbers)
                if entry.representation == "quaternion":
                    return Rotation.from_quat([*numbers[1:], numbers[0]])
                return Rotation.from_euler("xyz", numbers)
    return Rotation.identity()


def _numbers(
    entry: Numbers,
    values: dict[str, float],
    message: Any,
    joints: dict[str, list[tuple[str, float, str]]],
) -> None:
    numbers = np.array([values[name] for name in entry.states])
    if entry.wrap is not None:  # as encoders often give it, which is not the system's turn
        numbers = np.remainder(numbers + math.pi, 2.0 * math.pi) - math.pi
    unit = UNITS[entry.unit] if entry.unit else 1.0
    numbers = (numbers - np.array(entry.offset)) / np.array(entry.scale) / unit
    if entry.joints is not None:
        found = joints.setdefault(entry.names, [])
        found += [(joint, x, entry.field) for joint, x in zip(entry.joints, numbers, strict=True)]
    else:
        _place(message, entry.field, numbers, entry.index)


def _place(message: Any, path: str, numbers: Any, index: Any) -> None:
    """Writes numbers; elements of an array that others wrote stay."""
    if index is None:
        put_numbers(message, path, list(numbers))
        return
    before = [float(x) for x in getter(path)(message)]
    before += [0.0] * (max(index) + 1 - len(before))
    for i, value in zip(index, numbers, strict=True):
        before[i] = float(value)
    put_numbers(message, path, before, range(len(before)))


def _write_joints(message: Any, names: str, found: list[tuple[str, float, str]]) -> None:
    """Joints in the opposite of the profile's order: drivers have their own."""
    order = list(dict.fromkeys(joint for joint, _, _ in reversed(found)))
    put(message, names, order)
    for field in dict.fromkeys(field for _, _, field in found):
        values = {joint: value for joint, value, of in found if of == field}
        put_numbers(message, field, [values.get(j, 0.0) for j in order], range(len(order)))


def _write_attitude(message: Any, entry: Attitude, attitude: "Rotation") -> None:
    if entry.given == "euler":
        angles = attitude.as_euler("xyz", degrees=entry.unit == "deg")
        field = getter(entry.field)(message)
        _spread(
            message,
            entry.field,
            angles,
            ("roll", "pitch", "yaw") if hasattr(field, "roll") else "xyz",
        )
        return
    x, y, z, w = attitude.as_quat()
    if entry.order == "wxyz":
        _spread(message, entry.field, (w, x, y, z), "wxyz")
    else:
        _spread(message, entry.field, (x, y, z, w), "xyzw")


def _spread(message: Any, path: str, numbers: Any, components: Any) -> None:
    """Into components with names, or the first elements of an array."""
    field = getter(path)(message)
    if hasattr(field, components[0]):
        for name, value in zip(components, numbers, strict=True):
            setattr(field, name, float(value))
    else:
        _place(message, path, numbers, range(len(numbers)))


def _write_stamp(message: Any, source: Source, stamp: float) -> None:
    if source.stamp == "arrival":
        return
    path = source.stamp.field if isinstance(source.stamp, Stamp) else "header.stamp"
    field = getter(path)(message)
    if hasattr(field, "nanosec"):
        field.sec = math.floor(stamp)
        field.nanosec = min(999_999_999, round((stamp - math.floor(stamp)) * 1e9))
        return
    unit = source.stamp.unit if isinstance(source.stamp, Stamp) else None
    put_numbers(message, path, [stamp / (UNITS[unit] if unit else 1.0)])

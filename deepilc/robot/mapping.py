"""Entries of a profile: which field of a message is which coordinate, in which unit and frame."""

import math
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from deepilc.robot.fields import PATTERN

__all__ = [
    "UNITS",
    "ActionNumbers",
    "Attitude",
    "Entry",
    "FieldPath",
    "Numbers",
    "StateEntry",
    "Unit",
    "Vector",
    "each",
]

UNITS = MappingProxyType(
    {
        "deg": math.pi / 180.0,
        "deg/s": math.pi / 180.0,
        "rev": 2.0 * math.pi,
        "rpm": 2.0 * math.pi / 60.0,
        "mm": 1e-3,
        "cm": 1e-2,
        "km/h": 1.0 / 3.6,
        "g": 9.80665,
        "ms": 1e-3,
        "us": 1e-6,
        "ns": 1e-9,
    }
)
"""Units of messages in SI units."""

Unit = Literal["deg", "deg/s", "rev", "rpm", "mm", "cm", "km/h", "g", "ms", "us", "ns"]


def _finite(value: Any) -> Any:
    for number in value if isinstance(value, tuple) else (value,):
        if not math.isfinite(number):
            raise ValueError("it must be finite")
    return value


def _not_zero(value: Any) -> Any:
    if any(number == 0.0 for number in (value if isinstance(value, tuple) else (value,))):
        raise ValueError("a scale of 0 leaves nothing of the number")
    return value


FieldPath = Annotated[str, Field(pattern=PATTERN, max_length=200)]
_Number = Annotated[float, AfterValidator(_finite)]
_Numbers = Annotated[float | tuple[float, ...], AfterValidator(_finite)]
_Scale = Annotated[_Numbers, AfterValidator(_not_zero)]
_Index = Annotated[int, Field(ge=0, le=4095)]
_State = Annotated[str, Field(min_length=1)]
_Three = Annotated[tuple[_State | None, ...], Field(min_length=3, max_length=3)]


def each(value: float | tuple[float, ...], size: int) -> tuple[float, ...]:
    """One number per coordinate, where one may stand for all."""
    return value if isinstance(value, tuple) else (value,) * size


class Entry(BaseModel):
    """What every part of a profile is: no unknown keys, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Numbers(Entry):
    """Plain numbers: state = (number in the message, in SI units) * scale + offset."""

    kind: Literal["numbers"]
    states: tuple[_State, ...] = Field(min_length=1, description="State coordinates, by name.")
    field: FieldPath = Field(description="Scalar field, or array with `index` or `joints`.")
    index: tuple[_Index, ...] | None = Field(
        None, description="Elements of the array, one per state, counted from 0."
    )
    joints: tuple[_State, ...] | None = Field(
        None,
        description="Names of the joints, one per state: elements are looked up in `names` in "
        "every message, since drivers order joints as they like.",
    )
    names: FieldPath = Field("name", description="Field with the names, for `joints`.")
    unit: Unit | None = Field(None, description="Unit in the message; default: SI.")
    scale: _Scale = Field(1.0, description="Factor, one for all states or one each; -1 turns.")
    offset: _Numbers = Field(
        0.0, description="Added afterwards, in the state's unit; one for all states or one each."
    )
    wrap: _Number | None = Field(
        None,
        description="For angles that are unique within a turn: lower end (rad) of the turn that "
        "the system uses.",
    )

    @model_validator(mode="after")
    def _sizes(self) -> "Numbers":
        size = len(self.states)
        if self.index is not None and self.joints is not None:
            raise ValueError("give index or joints, not both")
        for key in ("index", "joints"):
            value = getattr(self, key)
            if value is not None and len(value) != size:
                raise ValueError(f"{key} has {len(value)} entries for {size} states")
        if self.index is None and self.joints is None and size != 1:
            raise ValueError(f"{size} states of one field need index or joints")
        _check_sizes(self, size)
        return self


class Vector(Entry):
    """A vector in space: a message with x, y, z, or an array of three numbers."""

    kind: Literal["vector"]
    states: _Three = Field(description="State coordinates of x, y and z; null where there is none.")
    field: FieldPath = Field(description="Message with x, y, z, or an array that begins with them.")
    frame: Literal["world", "body"] = Field(
        description="Whose axes the message means. Velocities of nav_msgs/Odometry: body."
    )
    into: Literal["world", "body"] | None = Field(
        None,
        description="Whose axes the states mean, if others: turned by the attitude. Default: as in "
        "the message.",
    )
    unit: Unit | None = Field(None, description="Unit in the message; default: SI.")
    offset: Annotated[tuple[_Number, ...], Field(min_length=3, max_length=3)] | None = Field(
        None, description="Added afterwards, in the system's axes, such as -target for a position."
    )

    @model_validator(mode="after")
    def _some(self) -> "Vector":
        if not any(self.states):
            raise ValueError("states names nothing; leave the entry out")
        return self


class Attitude(Entry):
    """An attitude, body to world."""

    kind: Literal["attitude"]
    states: tuple[_State | None, ...] = Field(
        min_length=3, max_length=4, description="State coordinates; null where there is none."
    )
    field: FieldPath = Field(
        description="Quaternion message or array of four; Euler angles: message or array of three."
    )
    given: Literal["quaternion", "euler"] = Field(
        "quaternion",
        description="What the message has; euler: fixed-axis roll, pitch, yaw (REP-103).",
    )
    order: Literal["xyzw", "wxyz"] | None = Field(
        None,
        description="Order of a quaternion in an array (PX4: wxyz); messages name theirs.",
    )
    unit: Literal["deg"] | None = Field(None, description="Unit of Euler angles; default: rad.")
    representation: Literal["mrp", "quaternion", "euler"] = Field(
        "mrp",
        description="What the system's states are: 3 modified Rodrigues parameters (|p| <= 1), 4 "
        "of a quaternion (w first), or roll, pitch, yaw in rad.",
    )

    @model_validator(mode="after")
    def _sizes(self) -> "Attitude":
        wanted = 4 if self.representation == "quaternion" else 3
        if len(self.states) != wanted:
            raise ValueError(
                f"representation {self.representation!r} has {wanted} states, "
                f"not {len(self.states)}"
            )
        if self.representation == "mrp" and any(self.states) and not all(self.states):
            raise ValueError("modified Rodrigues parameters make sense only as three states")
        if self.given == "euler" and self.order is not None:
            raise ValueError("order is for quaternions")
        if self.given == "quaternion" and self.unit is not None:
            raise ValueError("unit is for Euler angles")
        return self


StateEntry = Annotated[Numbers | Vector | Attitude, Field(discriminator="kind")]


class ActionNumbers(Entry):
    """Actions in a command: number in the message = (action * scale + offset), in its unit."""

    actions: tuple[_State, ...] = Field(min_length=1, description="Action coordinates, by name.")
    field: FieldPath = Field(description="Scalar field, or array with `index`.")
    index: tuple[_Index, ...] | None = Field(
        None, description="Elements of the array, one per action, counted from 0."
    )
    unit: Unit | None = Field(None, description="Unit in the message; default: SI.")
    scale: _Scale = Field(1.0, description="Factor, one for all actions or one each.")
    offset: _Numbers = Field(0.0, description="Added to action * scale, before the unit.")
    unused: float = Field(0.0, description="What other elements of the array become; PX4: .nan.")

    @model_validator(mode="after")
    def _sizes(self) -> "ActionNumbers":
        size = len(self.actions)
        if self.index is None and size != 1:
            raise ValueError(f"{size} actions in one field need index")
        if self.index is not None and len(self.index) != size:
            raise ValueError(f"index has {len(self.index)} entries for {size} actions")
        if self.index is not None and len(set(self.index)) != size:
            raise ValueError("index names an element twice")
        _check_sizes(self, size)
        return self


def _check_sizes(entry: Numbers | ActionNumbers, size: int) -> None:
    for key in ("scale", "offset"):
        value = getattr(entry, key)
        if isinstance(value, tuple) and len(value) != size:
            raise ValueError(f"{key} has {len(value)} numbers for {size} coordinates")

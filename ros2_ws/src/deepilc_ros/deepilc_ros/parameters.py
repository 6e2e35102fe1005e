"""ROS parameters: declared with unit and range, and refused in one line that says what is allowed.

The settings of a run (`deepilc.config.TrainConfig`) are declared from their one definition, so that
`ros2 param describe` tells what `deepilc train --help` tells. Every node declares all of them: a
stack gives all nodes the same settings, and an unknown name is a mistake rather than ignored.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from deepilc.config import TrainConfig, resolve
from deepilc.errors import UserError, suggestion
from deepilc.guard import GuardLimits

__all__ = [
    "Setting",
    "declare",
    "declare_run_settings",
    "guard_limits",
    "refuse_unknown",
    "run_settings",
]

_LARGEST = {int: 2**62, float: 1e300}
_WORDS = {int: "a whole number", float: "a number with a decimal point", bool: "true or false"}
_NOT_OURS = ("use_sim_time", "start_type_description_service", "qos_overrides")


@dataclass(frozen=True)
class Setting:
    """One ROS parameter.

    Attributes:
        name: Name; a dot makes a group.
        default: Value if none is given; its type is the parameter's. A type instead of a value
            means that there is no default: unset is None.
        description: What it does, with its unit.
        low: Smallest value.
        high: Largest value.
        choices: Allowed values; empty means any.
        live: Whether it may change while the node runs.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    @property
    def type(self) -> type:
        """Type of the value."""
        return self.default if isinstance(self.default, type) else type(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        words = _WORDS.get(self.type, "text")
        if self.low is not None or self.high is not None:
            low = "" if self.low is None else f"{self.low:g} "
            words += f", {low}.. {'' if self.high is None else f'{self.high:g}'}"
        return words.strip()

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(
            description=self.description,
            read_only=not self.live,
            additional_constraints=self.allowed if self.choices else "",
        )
        if self.low is not None or self.high is not None:
            largest = _LARGEST[self.type]
            low = -largest if self.low is None else self.low
            high = largest if self.high is None else self.high
            if self.type is int:
                low, high = int(low), int(high)
                descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
            else:
                low, high = float(low), float(high)
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=low, to_value=high, step=0.0)
                ]
        return descriptor


def declare(
    node: Node,
    settings: Sequence[Setting],
    changed: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Declares parameters and returns their values.

    Args:
        node: The node.
        settings: What to declare.
        changed: Called with the new values of `live` parameters that were set while running; a
            `UserError` from it refuses the change with its text as the reason.

    Returns:
        Name to value; None where a parameter without default was not set.

    Raises:
        UserError: A value of another type or outside the range.
    """
    values = {setting.name: _declare_one(node, setting) for setting in settings}
    by_name = {setting.name: setting for setting in settings}

    def accept(parameters: list[Parameter]) -> SetParametersResult:
        new = {p.name: p.value for p in parameters if p.name in by_name}
        try:
            for name, value in new.items():
                _check_choice(by_name[name], value)
            if new and changed is not None:
                changed(new)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    if any(setting.live for setting in settings):
        node.add_on_set_parameters_callback(accept)
    return values


def declare_run_settings(node: Node) -> None:
    """Declares every setting of `TrainConfig` (see `run_settings`)."""
    declare(node, list(_from_model(TrainConfig)))


def run_settings(node: Node) -> TrainConfig:
    """The settings of the run, validated together.

    Raises:
        UserError: A value that `TrainConfig` refuses.
    """
    values: dict[str, Any] = {}
    for setting in _from_model(TrainConfig):
        value = _value(node, setting.name)
        if value is not None and value != setting.default:  # some defaults follow from others
            group = values
            *parents, last = setting.name.split(".")
            for parent in parents:
                group = group.setdefault(parent, {})
            group[last] = value
    return resolve(values)


def guard_limits(node: Node) -> GuardLimits:
    """Declares `guard.*` and returns the limits; 0 switches a limit off, loudly.

    Raises:
        UserError: A value that `GuardLimits` refuses.
    """
    settings = []
    for setting in _from_model(GuardLimits, "guard."):
        if setting.type is float:
            description = setting.description.replace("null switches", "0 switches")
            setting = Setting(setting.name, setting.default, description, low=0.0, high=1e6)
        settings.append(setting)
    given = declare(node, settings)
    values = {name.removeprefix("guard."): value for name, value in given.items()}
    for name, value in values.items():
        if not value:
            node.get_logger().warning(f"the guard's limit {name!r} is switched off")
            values[name] = False if isinstance(value, bool) else None
    try:
        return GuardLimits.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"parameter guard.{first['loc'][0]}: {first['msg']}") from None


def refuse_unknown(node: Node) -> None:
    """Call after all declarations: a value for an undeclared parameter is a misspelling.

    Raises:
        UserError: Names it and the nearest that exists.
    """
    declared = node.list_parameters([], 0).names
    for name in node._parameter_overrides:  # rclpy has no public way to them
        if name not in declared and not name.startswith(_NOT_OURS):
            raise UserError(
                f"{node.get_name()} has no parameter {name!r}{suggestion(name, declared)}"
            )


def _declare_one(node: Node, setting: Setting) -> Any:
    default = setting.default
    if isinstance(default, type):
        default = {
            bool: Parameter.Type.BOOL,
            int: Parameter.Type.INTEGER,
            float: Parameter.Type.DOUBLE,
            str: Parameter.Type.STRING,
        }[default]
    try:
        node.declare_parameter(setting.name, default, setting.descriptor())
    except (InvalidParameterTypeException, InvalidParameterValueException):
        given = node._parameter_overrides[setting.name].value
        raise UserError(
            f"parameter {setting.name!r} of {node.get_name()} is {given!r}; "
            f"it must be {setting.allowed}"
        ) from None
    value = _value(node, setting.name)
    _check_choice(setting, value)
    return value


def _value(node: Node, name: str) -> Any:
    try:
        return node.get_parameter(name).value
    except ParameterUninitializedException:
        return None


def _check_choice(setting: Setting, value: object) -> None:
    if setting.choices and value is not None and value not in setting.choices:
        raise UserError(f"parameter {setting.name!r} is {value!r}; it must be {setting.allowed}")


def _from_model(model: type[BaseModel], prefix: str = "") -> Iterable[Setting]:
    """One setting per field of a pydantic model, nested models as groups."""
    for name, field in model.model_fields.items():
        kind = _plain_type(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _from_model(kind, f"{prefix}{name}.")
            continue
        choices: tuple[str, ...] = ()
        if get_origin(kind) is Literal:
            choices, kind = get_args(kind), str
        default = field.get_default(call_default_factory=True)
        low, high = _bounds(field)
        yield Setting(
            f"{prefix}{name}",
            kind if default is None else kind(default),
            field.description or "",
            low,
            high,
            choices,
        )


def _plain_type(annotation: Any) -> Any:
    """The type without `| None`."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
    return annotation


def _bounds(field: FieldInfo) -> tuple[float | None, float | None]:
    """Range of a field; ROS ranges include their ends, the model itself refuses an open end."""
    low = high = None
    for constraint in field.metadata:
        low = getattr(constraint, "ge", getattr(constraint, "gt", low))
        high = getattr(constraint, "le", getattr(constraint, "lt", high))
    return low, high

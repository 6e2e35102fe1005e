"""Robot profiles: YAML files that say what a robot's topics mean; see docs/robot-profile.md.

The file is checked twice: by itself (`load`), and against the system that it is for
(`deepilc.robot.interface.RobotInterface`).
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, FiniteFloat, ValidationError, field_validator, model_validator

from deepilc import paths
from deepilc.errors import UserError, suggestion
from deepilc.robot.mapping import ActionNumbers, Entry, FieldPath, StateEntry, Unit
from sims import registry

__all__ = [
    "ActionTakeover",
    "Command",
    "JoyTakeover",
    "Profile",
    "Reset",
    "SafeAction",
    "Source",
    "Stamp",
    "Takeover",
    "absolute",
    "find",
    "listed",
    "load",
    "names",
    "schema",
]

TopicName = Annotated[
    str,
    Field(
        pattern=r"^/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*$",
        max_length=200,
        description="Topic; a relative one gets the node's namespace.",
    ),
]
TypeName = Annotated[
    str,
    Field(
        pattern=r"^[a-z]\w*/(msg|srv)/[A-Z]\w*$",
        description="Type as `ros2 topic info` prints it: package/msg/Name.",
    ),
]
Constant = bool | int | float | str
Seconds = Annotated[float, Field(gt=0.0, le=3600.0)]
Limits = Annotated[tuple[float, ...], Field(min_length=2, max_length=2)]


class Stamp(Entry):
    """A time stamp in a field of its own: a `builtin_interfaces/Time`, or a number in `unit`."""

    field: FieldPath = Field(description="Field with the stamp, such as `timestamp`.")
    unit: Unit | None = Field(None, description="Unit of a number; PX4: us. Default: s.")


StampSource = Literal["header", "arrival"] | Stamp


class Source(Entry):
    """A topic with states."""

    type: TypeName
    qos: Literal["sensor", "reliable"] = Field(
        "sensor",
        description="sensor: best effort, which hears every publisher; reliable: lost messages "
        "come again, and only reliable publishers are heard.",
    )
    rate: float | None = Field(
        None,
        gt=0.0,
        le=10_000.0,
        description="Expected messages per second; below 0.6 of it is a problem. null: any.",
    )
    max_age: Seconds = Field(
        description="Oldest state (s) that may be acted on. About three periods of the topic."
    )
    stamp: StampSource = Field(
        "header",
        description="What age counts from: header (header.stamp, needs synchronised clocks), "
        "arrival, or a field of its own.",
    )
    world: Literal["ENU", "NED"] = Field("ENU", description="World axes of the message.")
    body: Literal["FLU", "FRD"] = Field("FLU", description="Body axes of the message.")
    expect: dict[FieldPath, Constant] = Field(
        default_factory=dict,
        description="Fields that must have a value, such as child_frame_id: base_link; a message "
        "with another is dropped and counted.",
    )
    stuck_after: Seconds | None = Field(
        None,
        description="Seconds of exactly the same numbers after which a sensor counts as stuck; "
        "real sensors are never that still. null: not checked.",
    )
    state: tuple[StateEntry, ...] = Field(min_length=1, description="What the fields are.")


class Command(Entry):
    """A topic with commands."""

    type: TypeName
    action: tuple[ActionNumbers, ...] = Field(min_length=1, description="What the fields become.")
    constants: dict[FieldPath, Constant | list[Constant]] = Field(
        default_factory=dict, description="Other fields and their values, such as joint names."
    )
    stamp: Literal["header"] | Stamp | None = Field(
        None, description="Where the time of the command goes. null: nowhere."
    )


class SafeAction(Entry):
    """What is applied when nothing else is known to be right. Zero may be a crash: no default."""

    kind: Literal["constant", "hold_then_constant", "backup"] = Field(
        description="constant: `action` at once; hold_then_constant: the last good action for "
        "`duration`, then `action`; backup: the backup controller while the state is known, else "
        "`action`."
    )
    action: dict[str, float] = Field(description="The constant, by action name; all must be named.")
    duration: Seconds | None = Field(None, description="Seconds to hold, for hold_then_constant.")

    @model_validator(mode="after")
    def _duration(self) -> "SafeAction":
        if (self.kind == "hold_then_constant") != (self.duration is not None):
            raise ValueError("duration belongs to hold_then_constant, and it needs one")
        return self


class Switch(Entry):
    """What tells that the operator overrides: a button that is held, or a switch on an axis."""

    button: int | None = Field(None, ge=0, le=63, description="Button that is held down.")
    axis: int | None = Field(None, ge=0, le=63, description="Axis of a switch.")
    above: FiniteFloat | None = Field(None, description="Overrides while the axis is above this.")
    below: FiniteFloat | None = Field(None, description="Overrides while the axis is below this.")

    @model_validator(mode="after")
    def _one(self) -> "Switch":
        if (self.button is None) == (self.axis is None):
            raise ValueError("give a button or an axis")
        if (self.axis is not None) != ((self.above is None) != (self.below is None)):
            raise ValueError("an axis needs above or below; a button has neither")
        return self


class JoyTakeover(Entry):
    """A joystick or radio: action = neutral + sum of gain * axis."""

    kind: Literal["joy"]
    topic: TopicName = "joy"
    type: Literal["sensor_msgs/msg/Joy"] = Field("sensor_msgs/msg/Joy", description="Its type.")
    active: Switch = Field(description="What makes it override.")
    neutral: dict[str, FiniteFloat] = Field(
        description="Actions with all axes at 0, within the action bounds; all named."
    )
    gains: dict[str, dict[Annotated[int, Field(ge=0, le=63)], FiniteFloat]] = Field(
        description="Action to axis to gain, in the action's unit per full axis."
    )
    deadzone: float = Field(0.05, ge=0.0, lt=1.0, description="Axis values below it count as 0.")
    max_age: Seconds = Field(
        0.3,
        description="Seconds without a message after which a switch that was held counts as a lost "
        "link: the safe action, then a safe stop, until a message says that it is released. "
        "joy_node must repeat its messages (its autorepeat_rate, on by default).",
    )


class ActionTakeover(Entry):
    """A topic with whole actions: overrides while its messages come."""

    kind: Literal["actions"]
    topic: TopicName
    type: TypeName
    action: tuple[ActionNumbers, ...] = Field(
        min_length=1, description="As in a command; read backwards: (number - offset) / scale."
    )
    max_age: Seconds = Field(0.3, description="Seconds after which a message overrides no more.")


Takeover = Annotated[JoyTakeover | ActionTakeover, Field(discriminator="kind")]


class GoTo(Entry):
    """How a robot is told to go to its start: a service to call, or a message to send."""

    service: TopicName | None = Field(None, description="Service of std_srvs/srv/Trigger.")
    topic: TopicName | None = Field(None, description="Topic that a target is published on.")
    type: TypeName | None = Field(None, description="Type of the message, for `topic`.")
    message: dict[FieldPath, Constant | list[Constant]] = Field(
        default_factory=dict, description="Fields of the message and their values."
    )
    within: dict[str, Limits] = Field(
        default_factory=dict, description="State to bounds: where it counts as having arrived."
    )
    timeout: Seconds = Field(60.0, description="Seconds after which the reset has failed.")

    @model_validator(mode="after")
    def _one(self) -> "GoTo":
        if (self.service is None) == (self.topic is None):
            raise ValueError("give a service or a topic")
        if (self.topic is None) != (self.type is None) or (self.service and self.message):
            raise ValueError("a topic needs a type; a service has neither type nor message")
        if self.topic and not self.within:
            raise ValueError("a topic does not answer: `within` must say where it has arrived")
        return self


class Reset(Entry):
    """Who brings the robot back to a start state."""

    mode: Literal["operator", "robot", "node"] = Field(
        description="operator: a person, who then calls the reset service; robot: its own go-to "
        "controller, see `goto`; node: a node of yours, which calls the reset service."
    )
    goto: GoTo | None = Field(None, description="For mode robot.")
    node: str | None = Field(
        None,
        pattern=r"^[A-Za-z]\w*$",
        description="For mode node: name of the node that may publish on the robot's command "
        "topics beside the bridge. Any other that does keeps the bridge from arming.",
    )

    @model_validator(mode="after")
    def _fits(self) -> "Reset":
        if (self.mode == "robot") != (self.goto is not None):
            raise ValueError("goto belongs to mode robot, and it needs one")
        if self.node is not None and self.mode != "node":
            raise ValueError("node belongs to mode node")
        return self


class Profile(Entry):
    """One robot: where its states come from, where its actions go, and what is safe."""

    robot: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="Name of the robot; rows that it supplies keep it.",
    )
    system: str = Field(description="System that it is; see `deepilc systems`.")
    description: str = Field("", description="One line for people.")
    period: float | None = Field(
        None, gt=0.0, description="Control period (s). Must be the system's; default: that."
    )
    delay: Literal[0, 1] = Field(
        1, description="Control periods from choosing an action to its effect."
    )
    sources: dict[TopicName, Source] = Field(min_length=1, description="Topic to its states.")
    commands: dict[TopicName, Command] = Field(min_length=1, description="Topic to its actions.")
    safe_action: SafeAction
    bounds: dict[str, Limits] = Field(
        default_factory=dict,
        description="State to [low, high]: workspace, geofence, speeds. Within the system's, which "
        "hold for all others.",
    )
    max_tilt: float | None = Field(
        None,
        gt=0.0,
        lt=3.1416,
        description="Largest angle (rad) between the body's and the world's z axis.",
    )
    takeover: Takeover | None = Field(
        None, description="How an operator overrides. null: not at all."
    )
    reset: Reset = Reset(mode="operator")

    @field_validator("system")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return registry.absolute(value)


def names() -> list[str]:
    """Names of the profiles that come with deepilc."""
    return sorted(path.stem for path in paths.PROFILES.glob("*.yaml"))


def find(name: str | Path) -> Path:
    """File of a profile: one of `names()`, or a path to a YAML file.

    Raises:
        UserError: There is none.
    """
    try:
        own = Path(name).expanduser()
        path = own if own.suffix in (".yaml", ".yml") else paths.PROFILES / f"{name}.yaml"
        if path.is_file():
            return path.resolve()
    except (OSError, RuntimeError) as error:  # a name that is too long, a home of nobody
        raise UserError(f"no profile can be called {str(name)!r}: {error}") from None
    if path is own:
        raise UserError(f"there is no profile {path}; shipped ones: {', '.join(names())}")
    raise UserError(f"no profile is named {str(name)!r}{suggestion(str(name), names())}")


def absolute(name: str) -> str:
    """The same profile as named from any folder: a file by its full path.

    Raises:
        UserError: There is none; a full path is not looked up.
    """
    if Path(name).is_absolute():
        return name
    path = find(name)
    return name if path.parent == paths.PROFILES.resolve() and path.stem == name else str(path)


def listed(names: str | None) -> list[str]:
    """Names in a list with commas."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def load(name: str | Path) -> Profile:
    """Read and check a profile.

    Args:
        name: One of `names()`, or a path to a YAML file of your own.

    Raises:
        UserError: What is wrong, where in the file, and what is allowed.
    """
    path = find(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read profile {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"profile {path} must hold 'key: value' lines, not {content!r}")
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        raise UserError(f"profile {path}: {_explain(error)}") from None


def schema() -> str:
    """JSON schema of profiles, for editors."""
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Profile.model_json_schema(),
        "title": "deepilc robot profile",
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _explain(error: ValidationError) -> str:
    """One mistake: where, what, which value."""
    errors = error.errors()  # of a misspelt key that is also missing, the spelling is the mistake
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"]) or "profile"
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return (
            f"{where}: there is no such key{suggestion(str(first['loc'][-1]), _keys(first['loc']))}"
        )
    if first["type"] == "missing":
        return f"{where}: it is missing, and there is no default"
    value: Any = first["input"]
    shown = "" if isinstance(value, dict | list | tuple) else f" (it is {value!r})"
    return f"{where}: {text[:1].lower()}{text[1:]}{shown}"


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys that are allowed where a mistake is, from the schema of the deepest model there."""
    content = Profile.model_json_schema()
    place: dict[str, Any] = content
    for part in location[:-1]:
        place = _resolve(content, place)
        variants = place.get("oneOf") or place.get("anyOf") or []
        found = [
            _resolve(content, each)
            for each in variants
            if _resolve(content, each).get("properties", {}).get("kind", {}).get("const") == part
        ]
        if found:
            place = found[0]
        elif isinstance(part, int):
            place = place.get("items") or {}
        elif part in place.get("properties", {}):
            place = place["properties"][part]
        else:  # a group with names of one's own, such as topics
            values = [
                *place.get("patternProperties", {}).values(),
                place.get("additionalProperties"),
            ]
            place = values[0] or place
    return sorted(_resolve(content, place).get("properties", {}))


def _resolve(content: dict[str, Any], place: dict[str, Any]) -> dict[str, Any]:
    """What a reference, or an optional group, stands for."""
    groups = [each for each in place.get("anyOf", ()) if each.get("type") != "null"]
    if len(groups) == 1:
        place = groups[0]
    reference = place.get("$ref")
    return content["$defs"][reference.rpartition("/")[2]] if reference else place

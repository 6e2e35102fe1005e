"""Stack files: the one list of nodes, parameters and remaps.

The launch file and `deepilc up` both read it, so there is never a second list. A file with
`base: NAME` is that stack with what the file itself says on top, group by group.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from deepilc import config as train_config
from deepilc import nested
from deepilc.errors import UserError, suggestion
from deepilc.paths import stack_file

__all__ = ["NodeSpec", "Parameters", "Place", "Stack", "dump", "load"]

Scalar = bool | int | float | str
Parameters = Mapping[str, "Scalar | list[Scalar] | Parameters"]
SETTLED = 120.0
"""Seconds after which a stack in real time counts as started, so that a robot may be flying. The
longest start is that of a learner that imitates a foreign policy."""
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*/)*[A-Za-z_][A-Za-z0-9_]*")


class NodeSpec(BaseModel):
    """One process with one ROS 2 node."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str = Field("deepilc_ros", description="ROS package of the executable.")
    executable: str = Field(description="Executable, as `ros2 run PACKAGE EXECUTABLE` finds it.")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="ROS parameters of this node; they win over `train`."
    )
    run_settings: bool = Field(
        True,
        description="Give it run folder, pacing and the settings of `train` as parameters; false "
        "for a node that knows nothing of runs.",
    )
    remappings: dict[str, str] = Field(
        default_factory=dict,
        description="Topic and service names: from the node's to the graph's, relative to the "
        "namespace of the stack.",
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of this process."
    )
    nice: Annotated[int, Field(ge=0, le=19)] = Field(
        0, description="Priority: a higher number yields the processor to the others."
    )
    respawn: bool = Field(False, description="Start it again when it dies.")
    respawn_delay: Annotated[float, Field(ge=0.0, le=3600.0)] = Field(
        1.0, description="Seconds before it is started again."
    )
    completes: bool = Field(
        False, description="Its exit with code 0 means that the work is done: the stack ends."
    )
    required: bool = Field(
        True, description="If it dies and is not respawned, the stack stops with an error."
    )

    @field_validator("parameters")
    @classmethod
    def _ros_types(cls, value: dict[str, Any]) -> dict[str, Any]:
        _check_parameters(value, "")
        if "robots" in value:
            raise ValueError("robots are the whole stack's: write them beside 'nodes'")
        if "pacing" in value:
            raise ValueError(
                "pacing is the whole stack's, since nodes that disagree wait for each other: "
                "write it beside 'nodes', as --set pacing=real_time"
            )
        return value


@dataclass(frozen=True)
class Place:
    """Where a node is in the graph.

    Attributes:
        namespace: Its namespace, from the root: "/", "/left/robot_a".
        name: Its name.
        remappings: Names, from the node's to the graph's.
    """

    namespace: str
    name: str
    remappings: dict[str, str]

    @property
    def path(self) -> str:
        """Namespace and name."""
        return f"{self.namespace.rstrip('/')}/{self.name}"

    def resolve(self, name: str) -> str:
        """What a topic or service of the node is called in the graph, as ROS 2 resolves it."""
        given = self._absolute(name)
        for source, target in self.remappings.items():
            if self._absolute(source) == given:
                return self._absolute(target)
        return given

    def _absolute(self, name: str) -> str:
        if name.startswith("~/"):
            return f"{self.path}/{name[2:]}"
        return name if name.startswith("/") else f"{self.namespace.rstrip('/')}/{name}"


class Stack(BaseModel):
    """What runs together, and with which numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of the file; runs are named after it.")
    description: str = Field("", description="One line for people.")
    train: train_config.TrainConfig = Field(
        default_factory=train_config.TrainConfig,
        description="Settings of the run; every node gets them as ROS parameters.",
    )
    pacing: Literal["lockstep", "real_time"] = Field(
        "lockstep",
        description="lockstep waits for the learner's credits, so that a run can be repeated "
        "exactly; real_time never waits. Every node gets it as a ROS parameter.",
    )
    robots: list[str] = Field(
        default_factory=list,
        description="Robots that feed one learner, each with its nodes in a namespace of its name; "
        "empty: one robot. Every node gets it as a ROS parameter.",
    )
    nodes: dict[str, NodeSpec] = Field(
        min_length=1,
        description="Node name to process; a name such as robot_a/bridge is that of a node in a "
        "namespace below the stack's.",
    )

    @field_validator("nodes")
    @classmethod
    def _node_names(cls, value: dict[str, NodeSpec]) -> dict[str, NodeSpec]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"node name {name!r} must be letters, digits and underscores, perhaps with a "
                    "namespace before it, as robot_a/bridge"
                )
        return value

    @model_validator(mode="after")
    def _robots_have_nodes(self) -> Self:
        if self.robots and self.pacing != "real_time":
            raise ValueError(
                f"robots are {', '.join(self.robots)} and pacing is {self.pacing}: several robots "
                "need pacing: real_time, since in lockstep the learner waits for one"
            )
        if len(set(self.robots)) < len(self.robots):
            raise ValueError(f"robots are {', '.join(self.robots)}: each name may come once")
        for robot in self.robots:
            if not any(node.startswith(f"{robot}/") for node in self.nodes):
                raise ValueError(f"robot {robot!r} has no node; its bridge is named {robot}/bridge")
        return self

    @property
    def profiles(self) -> list[str]:
        """Profiles of the robots, each once."""
        bridges = [spec for spec in self.nodes.values() if spec.executable == "robot_bridge"]
        named = [spec.parameters.get("profile") for spec in bridges]
        return list(dict.fromkeys(name for name in named if name and isinstance(name, str)))

    def survives_mistake(self, node: str, seconds: float) -> bool:
        """Whether the others go on when a node ends because of a user's mistake (exit code 2).

        Not while the stack starts, so that the mistake is seen. Later a robot may be flying, which
        must not lose its bridge because the learner's disk was changed.

        Args:
            node: Key of `nodes`.
            seconds: How long the stack has run.
        """
        spec = self.nodes[node]
        flying = self.pacing == "real_time" and seconds > SETTLED
        return flying and not spec.completes and (spec.respawn or not spec.required)

    def place(self, node: str, namespace: str = "") -> Place:
        """Where a node is in the graph.

        Args:
            node: Key of `nodes`.
            namespace: Namespace of the whole stack.
        """
        root = f"/{namespace.strip('/')}"
        below, _, name = f"{root.rstrip('/')}/{node}".rpartition("/")
        remappings = {
            source: target if target.startswith(("/", "~")) else f"{root.rstrip('/')}/{target}"
            for source, target in self.nodes[node].remappings.items()
        }
        return Place(below or "/", name, remappings)

    def node_parameters(
        self, node: str, run: Path, *, use_sim_time: bool = False
    ) -> dict[str, Any]:
        """ROS parameters of one node: run folder, the settings of the run, its own.

        Args:
            node: Key of `nodes`.
            run: Run folder.
            use_sim_time: Whether the node follows /clock.

        Returns:
            Nested parameters; a setting that is None has no ROS type and is left out.
        """
        own = self.nodes[node].parameters
        if not self.nodes[node].run_settings:
            return {"use_sim_time": use_sim_time, **own}
        common = without_none(self.train.model_dump(mode="json"))
        common |= {"pacing": self.pacing, "run": str(run), "use_sim_time": use_sim_time}
        if self.robots:
            common["robots"] = " ".join(self.robots)
        return {**common, **own}


def load(name: str | Path, overrides: Sequence[str] = (), *, complete: bool = False) -> Stack:
    """Read and check a stack file.

    The robots' profiles become the run's `workspace` where that is not set.

    Args:
        name: A name out of `deepilc.paths.stack_names()`, or a path.
        overrides: "key=value" with a dotted key, as "train.seed=3"; values are read as YAML.
        complete: It is what `dump` wrote: what it does not say was not set.

    Returns:
        The stack.

    Raises:
        UserError: What is wrong, with the value, what is allowed, and the file.
    """
    path = stack_file(name)
    content = nested.merged(_read(path), {})  # YAML's aliases share what they name
    for override in overrides:
        _override(content, override)
    content.setdefault("name", path.stem)
    train = content.get("train") or {}
    if not isinstance(train, dict):
        raise UserError(f"{path}: 'train' must be a group of settings, not {train!r}")
    try:
        stack = Stack.model_validate({**content, "train": train_config.resolve(train)})
        if stack.profiles and "workspace" not in train and not complete:
            settings = train_config.resolve({**train, "workspace": ",".join(stack.profiles)})
            stack = stack.model_copy(update={"train": settings})
        _ = stack.train.workspaces  # a mistake is said before anything starts
        return stack
    except UserError as error:
        raise UserError(f"{path}: train: {error}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from None


def dump(stack: Stack) -> str:
    """The stack as YAML that `load` reads back to an equal one."""
    return yaml.safe_dump(without_none(stack.model_dump(mode="json")), sort_keys=False)


def without_none(values: dict[str, Any]) -> dict[str, Any]:
    """The same nested values without keys that are None or empty groups or lists."""
    kept = {k: without_none(v) if isinstance(v, dict) else v for k, v in values.items()}
    return {k: v for k, v in kept.items() if v is not None and v not in ({}, [])}


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Content of a stack file on top of its base.

    Args:
        path: The file.
        above: Files whose base, or base's base, this one is.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read stack file {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(
            f"stack file {path} must hold 'key: value' lines, at least 'nodes:' or 'base:'"
        )
    base = content.pop("base", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UserError(f"{path}: base is {base!r}; it must be a stack's name or a file")
    beside = path.parent / base  # a file is named as seen from the one that names it
    try:
        below = stack_file(beside if beside.suffix in (".yaml", ".yml") else base)
    except UserError as error:
        raise UserError(f"{path}: base: {error}") from None
    chain = (*above, path)
    if any(below.resolve() == file.resolve() for file in chain):
        names = " -> ".join(file.name for file in (*chain, below))
        raise UserError(
            f"{chain[0]}: these files are each other's base: {names}; one must have none"
        )
    return nested.merged(_read(below, chain), content)


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"--set {override!r} has no value; write it as key=value")
    *parents, last = key.strip().split(".")
    group: Any = content
    for index, parent in enumerate(parents):
        if parents[0] == "nodes" and index == 1 and parent not in group:
            raise UserError(f"--set {key}: no node is named {parent!r}{suggestion(parent, group)}")
        if group.get(parent) is None:
            group[parent] = {}
        group = group[parent]
        if not isinstance(group, dict):
            raise UserError(f"--set {key}: {parent} is a value, not a group of settings")
    try:
        group[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {key}: {text!r} is not a YAML value") from None


def _check_parameters(values: Mapping[str, Any], prefix: str) -> None:
    """Raise ValueError for what has no ROS parameter type."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            _check_parameters(value, f"{name}.")
        elif isinstance(value, list):
            kinds = {type(item) for item in value}
            if len(kinds) != 1 or not kinds <= {bool, int, float, str}:
                raise ValueError(
                    f"parameter {name!r} is {value}; a list must hold one type, not none"
                )
        elif not isinstance(value, (bool, int, float, str)):
            raise ValueError(
                f"parameter {name!r} is {value!r}; allowed: bool, int, float, string, list"
            )


def _explain(error: ValidationError) -> str:
    """One line for the first thing wrong."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    where = ".".join(location)
    kind: Literal["node", "stack"] = (
        "node" if location[:1] == ["nodes"] and len(location) > 1 else "stack"
    )
    if first["type"] == "extra_forbidden":
        fields = (NodeSpec if kind == "node" else Stack).model_fields
        return f"unknown key {where!r}{suggestion(location[-1], fields)}"
    if first["type"] == "missing":
        return f"{where!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    if not where:  # of the whole stack
        return message
    return f"{where!r} is {first['input']!r}: {message}"

"""Stack files as launch_ros actions; all that a launch file of this package needs."""

import os
import site
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

try:
    import deepilc  # noqa: F401
except ImportError:
    # `ros2` runs under the system's Python; deepilc may live in the active virtual environment.
    # That environment's packages come first then, as they do in the nodes.
    known = list(sys.path)
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site.addsitedir(f"{os.environ.get('VIRTUAL_ENV', '')}/lib/{python}/site-packages")
    sys.path[:] = [path for path in sys.path if path not in known] + known

from deepilc import bringup, stack
from deepilc.errors import EXIT_USER_ERROR, UserError, suggestion

ARGUMENTS = {
    "stack": ("", "Stack file: a name out of config/, or a path to a YAML file of your own."),
    "namespace": ("", "ROS namespace of all nodes and topics; stacks can run side by side."),
    "system": ("", "System to control, see `deepilc systems`; empty = as in the stack file."),
    "parameters": ("", "Parameter set of the world, as real; empty = as in the stack file."),
    "seed": ("", "Seed of networks, start states and noise; empty = as in the stack file."),
    "profile": ("", "Robot profile, a name or a YAML file; empty = as in the stack file."),
    "set": ("", "More values of the stack file, as 'train.transitions=2000;nodes.learner.nice=9'."),
    "run": ("", "New run folder; empty = runs/<stack>-<date>-<time> in the working directory."),
    "resume": ("", "Run folder to go on with; it brings its own stack file and settings."),
    "log_level": ("info", f"Least severe message to print: {', '.join(bringup.LOG_LEVELS)}."),
    "use_respawn": ("true", "Start nodes again that die, where the stack file says respawn."),
    "use_sim_time": ("false", "Nodes follow /clock; only with a bridge that publishes it."),
    "enclaves": ("false", "Give each node its security enclave, named after it."),
}

# What `ros2 launch` itself adds to the arguments of a launch file.
_OF_LAUNCH = ("launch-prefix", "launch-prefix-filter")
_SETTINGS = ("system", "parameters", "seed")  # arguments that are keys of the group `train`

_held: list[IO[bytes]] = []  # run folders stay held as long as launch lives


def describe(
    name: str, shortcuts: Mapping[str, tuple[str, str]] = MappingProxyType({})
) -> LaunchDescription:
    """Launch description of a stack.

    Args:
        name: Stack that is launched unless the argument `stack` names another one.
        shortcuts: Further arguments: name to the key of the stack file that it sets, and its
            description. An empty value leaves the stack file's.
    """
    defaults = {argument: default for argument, (default, _) in ARGUMENTS.items()} | {"stack": name}
    declared = [
        DeclareLaunchArgument(argument, default_value=defaults[argument], description=text)
        for argument, (_, text) in ARGUMENTS.items()
    ]
    declared += [
        DeclareLaunchArgument(argument, default_value="", description=text)
        for argument, (_, text) in shortcuts.items()
    ]
    perform = OpaqueFunction(function=_perform, args=[name, shortcuts])
    return LaunchDescription([*declared, perform])


def _perform(
    context: LaunchContext, name: str, shortcuts: Mapping[str, tuple[str, str]]
) -> list[LaunchDescriptionEntity]:
    # Beneath a launch file of somebody else's the command line may hold arguments for that one.
    if f"{name}.launch.py" in [Path(word).name for word in sys.argv]:
        check_names(context.argv, shortcuts)
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    for argument, (key, _) in shortcuts.items():
        if value := LaunchConfiguration(argument).perform(context):
            given["set"] = f"{key}={value};{given['set']}"
    return actions(given)


def check_names(given: Sequence[str], shortcuts: Iterable[str] = ()) -> None:
    """Refuse launch arguments that do not exist; `ros2 launch` itself drops them silently.

    Args:
        given: Arguments as on the command line, "name:=value".
        shortcuts: Arguments that this launch file has beside `ARGUMENTS`.

    Raises:
        UserError: One is unknown; names the nearest, or all.
    """
    allowed = [*ARGUMENTS, *shortcuts]
    for argument in given:
        name = argument.partition(":=")[0]
        if name not in allowed and name not in _OF_LAUNCH:
            raise UserError(f"no launch argument is named {name!r}{suggestion(name, allowed)}")


def actions(arguments: dict[str, str]) -> list[LaunchDescriptionEntity]:
    """Launch actions of a stack; makes or reopens its run folder.

    Args:
        arguments: Value of each of `ARGUMENTS`.

    Raises:
        UserError: A value is not allowed, or the run folder cannot be used.
    """
    respawn = _truth("use_respawn", arguments)
    use_sim_time = _truth("use_sim_time", arguments)
    enclaves = _truth("enclaves", arguments)
    level = arguments["log_level"]
    if level not in bringup.LOG_LEVELS:
        raise UserError(f"log_level is {level!r}{suggestion(level, bringup.LOG_LEVELS)}")
    if arguments["resume"]:
        chosen, folder = bringup.reopen(arguments["resume"])
    else:
        chosen = stack.load(arguments["stack"], _overrides(arguments))
        folder = bringup.prepare(chosen, arguments["run"] or None)
    _held.append(bringup.hold(folder.path))
    files = bringup.write_parameters(chosen, folder.path, use_sim_time=use_sim_time)
    entities: list[LaunchDescriptionEntity] = [LogInfo(msg=f"run folder: {folder.path}")]
    for name, spec in chosen.nodes.items():
        place = chosen.place(name, arguments["namespace"])
        ros_arguments = ["--log-level", level]
        if enclaves:
            ros_arguments += ["--enclave", place.path]
        node = _node(name, spec, place, files[name], ros_arguments, respawn)
        entities.append(node)
        entities.append(_end_handler(node, name, chosen, respawn))
    return entities


def _node(
    name: str,
    spec: stack.NodeSpec,
    place: stack.Place,
    parameters: Path,
    ros_arguments: list[str],
    respawn: bool,
) -> Node:
    reach = bringup.discovery({**os.environ, **spec.environment})
    return Node(
        package=spec.package,
        executable=spec.executable,
        name=place.name,
        exec_name=name,  # what the console calls it
        # relative, so that it can be included; with remaps of the stack only by `namespace`
        namespace=place.namespace.lstrip("/"),
        parameters=[str(parameters)],
        remappings=list(place.remappings.items()),
        additional_env={**spec.environment, **reach},
        prefix=f"nice -n {spec.nice}" if spec.nice else None,
        ros_arguments=ros_arguments,
        respawn=respawn and spec.respawn,
        respawn_delay=spec.respawn_delay,
        sigterm_timeout=str(bringup.STOP_GRACE),
        sigkill_timeout="5",
        output="both",
    )


def _end_handler(node: Node, name: str, chosen: stack.Stack, respawn: bool) -> RegisterEventHandler:
    """What the end of a node means for the others; the same rules as those of `deepilc up`."""
    spec, since = chosen.nodes[name], time.monotonic()

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        survives = chosen.survives_mistake(name, time.monotonic() - since)
        if event.returncode == 0 and spec.completes:
            reason = f"{name}: work done"
        elif event.returncode == EXIT_USER_ERROR and not survives:
            reason = f"{name}: stopped by a mistake that you can correct"
        elif spec.required and not (respawn and spec.respawn):
            reason = f"{name}: exit code {event.returncode}"
        else:
            return []
        return [EmitEvent(event=Shutdown(reason=reason))]

    return RegisterEventHandler(OnProcessExit(target_action=node, on_exit=on_exit))


def _overrides(arguments: dict[str, str]) -> list[str]:
    """The arguments that change values of the stack file, as `--set` has them."""
    train = [f"train.{key}={arguments[key]}" for key in _SETTINGS if arguments[key]]
    robots: list[str] = []
    if arguments["profile"]:
        nodes = stack.load(arguments["stack"]).nodes
        robots = [name for name, node in nodes.items() if "profile" in node.parameters]
        if not robots:
            raise UserError(f"stack {arguments['stack']} has no robot, so no profile:=")
    train += [f"nodes.{node}.parameters.profile={arguments['profile']}" for node in robots]
    return train + [item.strip() for item in arguments["set"].split(";") if item.strip()]


def _truth(name: str, arguments: dict[str, str]) -> bool:
    value = arguments[name].strip().lower()
    if value not in ("true", "false"):
        raise UserError(f"{name} is {arguments[name]!r}; allowed: true, false")
    return value == "true"

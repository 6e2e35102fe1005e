"""What a stack needs before its processes start: run folder, environment, executables, parameters.

The runner `deepilc up` and the launch files share it, so that both start the same thing.
"""

import fcntl
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

import yaml

from deepilc import stack as stack_files
from deepilc.errors import UserError, suggestion
from deepilc.paths import CONFIG
from deepilc.run import RunFolder, write_atomic
from deepilc.stack import Stack

STOP_GRACE = 60.0
"""Seconds from SIGINT until a node is stopped harder: the learner writes its last checkpoint."""

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")

_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Fast DDS 2, 3


def prepare(stack: Stack, out: str | Path | None = None) -> RunFolder:
    """Make the run folder of a new run; it holds the resolved stack and settings.

    Raises:
        UserError: `out` exists and is not empty.
    """
    folder = RunFolder.create(out, stack.name, stack.train.model_dump(mode="json"))
    write_atomic(folder.path / "stack.yaml", stack_files.dump(stack))
    return folder


def reopen(path: str | Path) -> tuple[Stack, RunFolder]:
    """Open the run folder of a stack in order to go on with it.

    Raises:
        UserError: It is no run folder, or was not made by a stack.
    """
    folder = RunFolder.resume(path)
    file = folder.path / "stack.yaml"
    if not file.is_file():
        raise UserError(f"{folder.path} was not made by a stack (no stack.yaml in it)")
    return stack_files.load(file, complete=True), folder


def prefixes(env: Mapping[str, str]) -> list[Path]:
    """ROS 2 prefixes to look into, first one first.

    ROS 2 from wheels lives in the virtual environment itself, which no shell script announces; an
    installed ROS 2 that happens to be sourced beside it is left out, since the two do not mix.
    """
    own = Path(sys.prefix)
    given = [Path(p) for p in env.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    if not _holds_package(own, "rclpy"):
        return given
    return [p for p in given if p != own and not _holds_package(p, "rclpy")] + [own]


def discovery(env: Mapping[str, str]) -> dict[str, str]:
    """Variables that keep a node to this machine; none where the user chose how far it reaches.

    With Fast DDS a profile does it, since ROS 2's own LOCALHOST listens on every interface and
    answers whoever asks. Its range is left to that profile then.

    Args:
        env: Environment of the node.
    """
    if env.get(_RANGE, "LOCALHOST") != "LOCALHOST":
        return {}
    if env.get("ROS_STATIC_PEERS"):  # with no range at all ROS 2 would add the whole subnet
        return {_RANGE: "LOCALHOST"}
    other = env.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp"
    if other or any(name in env for name in _PROFILES):
        return {_RANGE: "LOCALHOST"}
    profile = str(CONFIG / "dds" / "this_machine_only.xml")
    return {_RANGE: "SYSTEM_DEFAULT", **dict.fromkeys(_PROFILES, profile)}


def environment(
    run: Path | None = None, more: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Environment for node processes: this one, completed.

    Args:
        run: Run folder, which gets their logs.
        more: Variables on top.

    Raises:
        UserError: ROS 2 is missing.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise UserError(
            "ROS 2 is missing (no rclpy for this Python): run `make setup`, or source an installed "
            "ROS 2 Jazzy; `deepilc train` works without ROS"
        )
    env = dict(os.environ)
    env["AMENT_PREFIX_PATH"] = os.pathsep.join(map(str, prefixes(env)))
    env["PYTHONUNBUFFERED"] = "1"
    if run is not None:
        env["ROS_LOG_DIR"] = str(run / "logs" / "ros")
    env |= more
    return env | discovery(env)


def find_executable(package: str, name: str, env: Mapping[str, str]) -> Path:
    """The file that `ros2 run package name` would start.

    Raises:
        UserError: Not there; says where it was looked for.
    """
    folders = [p / "lib" / package for p in prefixes(env)]
    for folder in folders:
        if os.access(folder / name, os.X_OK):
            return folder / name
    known = {file.name for folder in folders if folder.is_dir() for file in folder.iterdir()}
    if known:
        raise UserError(f"package {package} has no executable {name!r}{suggestion(name, known)}")
    looked = ", ".join(map(str, folders)) or "AMENT_PREFIX_PATH, which is empty"
    raise UserError(
        f"ROS package {package} is not installed (looked into {looked}): run `make setup`, or "
        "build it with colcon and source install/local_setup.bash"
    )


def write_parameters(stack: Stack, run: Path, *, use_sim_time: bool = False) -> dict[str, Path]:
    """Write the ROS parameter file of each node into `run/logs`; returns node name to file."""
    files = {}
    for name in stack.nodes:
        parameters = stack.node_parameters(name, run, use_sim_time=use_sim_time)
        content = yaml.safe_dump({"/**": {"ros__parameters": parameters}}, sort_keys=False)
        files[name] = log_file(run, name).with_suffix(".parameters.yaml")
        write_atomic(files[name], content)
    return files


def log_file(run: Path, node: str) -> Path:
    """File with what a node printed.

    Args:
        run: Run folder.
        node: Key of the stack's nodes.
    """
    return run / "logs" / f"{node.replace('/', '.')}.log"


def hold(run: Path) -> IO[bytes]:
    """Hold a run folder: two stacks in one folder would overwrite each other's work.

    Returns:
        A file; the folder is held until it is closed or the process ends.

    Raises:
        UserError: Another process holds it.
    """
    (run / "logs").mkdir(exist_ok=True)
    file = (run / "logs" / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"another stack is running in {run}; stop it first, or start a new run"
        ) from None
    return file


def _holds_package(prefix: Path, package: str) -> bool:
    return (prefix / "share/ament_index/resource_index/packages" / package).exists()

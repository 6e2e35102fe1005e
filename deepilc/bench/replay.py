"""Transitions per second from a bag to rows with Jacobians: reading, decoding, linearizing."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from deepilc.bags import raw
from deepilc.bags.definitions import Definitions
from deepilc.bags.linearizing import linearized
from deepilc.bags.recording import Limits, Recording
from deepilc.bags.transitions import TRANSITION, load
from deepilc.bench import Measurement, Target, measured
from deepilc.bench.rollouts import random_transitions
from deepilc.bringup import prefixes
from deepilc.errors import UserError
from deepilc.robot import profile as profiles
from deepilc.robot.inverse import write_source
from deepilc.robot.profile import Profile
from sims import registry
from sims.model import Model
from sims.system import System

__all__ = ["run"]

BENCH = "replay"
RAW_ROWS = 1500  # transitions in the bag of raw topics
PROFILE = "quadrotor_odometry"
ODOMETRY = 5  # messages per control period


def run(
    transitions: int = 40_000, repeats: int = 3, system: str = "rexquadrotor"
) -> Iterator[Measurement]:
    """Measures medians over several passes over a bag that is in the file cache.

    Args:
        transitions: Transitions in the bag, 1000..10000000.
        repeats: Passes.
        system: Name of the system.

    Yields:
        Rows per second read, linearized, and both; megabytes of the bag.

    Raises:
        UserError: A number is out of range.
    """
    if not 1000 <= transitions <= 10_000_000 or repeats < 1:
        raise UserError(
            f"transitions {transitions}, repeats {repeats}: allowed are 1000..10000000 and 1.."
        )
    body = registry.get(system)
    model = body.model("nominal")
    with tempfile.TemporaryDirectory(prefix="deepilc-bench-") as folder:
        bag = _bag(Path(folder), body, transitions)
        size = sum(file.stat().st_size for file in bag.rglob("*.mcap"))
        read, linear, rows = [], [], 0
        for _ in range(repeats + 1):  # the first pass warms up
            begin = time.perf_counter()
            dataset = load([bag], body)
            middle = time.perf_counter()
            for _ in linearized(dataset.rows, model):
                pass
            read.append(middle - begin)
            linear.append(time.perf_counter() - middle)
            rows = len(dataset)
    reading, linearizing = (float(np.median(times[1:])) for times in (read, linear))
    target = Target(">=", 20e3) if system == "rexquadrotor" else None
    both = rows / (reading + linearizing)
    yield measured(BENCH, "transition messages, read and linearized", both, "1/s", target)
    yield measured(BENCH, "transition messages, read", rows / reading, "1/s")
    yield measured(BENCH, "rows, linearized", rows / linearizing, "1/s")
    yield measured(BENCH, "size of the bag", size / 1e6, "MB")
    if system == "rexquadrotor":
        yield measured(
            BENCH,
            "raw topics (odometry at 100 Hz, commands at 20 Hz), read and linearized",
            _raw(body, model, min(transitions, RAW_ROWS), repeats),
            "1/s",
            Target(">=", 5e3),
        )


def _raw(system: System, model: Model, count: int, repeats: int) -> float:
    """Transitions per second from a robot's own topics."""
    profile = profiles.load(PROFILE)
    with tempfile.TemporaryDirectory(prefix="deepilc-bench-") as folder:
        bag = _raw_bag(Path(folder), profile, system, count)
        durations, rows = [], 0
        for _ in range(repeats + 1):  # the first pass warms up
            begin = time.perf_counter()
            dataset = raw.load([bag], profile, system)
            for _ in linearized(dataset.rows, model):
                pass
            durations.append(time.perf_counter() - begin)
            rows = len(dataset)
    return rows / float(np.median(durations[1:]))


def _raw_bag(folder: Path, profile: Profile, system: System, count: int) -> Path:
    """A bag as `ros2 bag record` makes it; states within the bounds, in no physical order."""
    make = Definitions([]).make
    store = Definitions([])
    rng = np.random.default_rng(0)
    bounds = np.array([profile.bounds.get(name, (-0.5, 0.5)) for name in system.state.names])
    states = rng.uniform(0.5 * bounds[:, 0], 0.5 * bounds[:, 1], (count, system.state.size))
    ((odometry, source),) = profile.sources.items()
    ((command, spec),) = profile.commands.items()
    message = _odometry(make)
    layout = make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
    hover = np.asarray(system.safe_action, np.float64)
    path = folder / "raw"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {}
        for topic, kind in ((odometry, source.type), (command, spec.type)):
            known = store.of(kind)
            topics[topic] = writer.add_connection(
                f"/{topic}", kind, msgdef=known.text, rihs01=known.hash
            )
        for k, state in enumerate(states):
            for part in range(ODOMETRY):
                at = 1.0 + system.dt * (k + part / ODOMETRY)
                write_source(profile, source, system, state + 1e-3 * part, at, message)
                data = store.serialized(message, source.type)
                writer.write(topics[odometry], round(1e9 * at), data)
                if part == 0:
                    action = hover + rng.uniform(-1.0, 1.0, len(hover))
                    asked = store.serialized(make(spec.type, layout=layout, data=action), spec.type)
                    writer.write(topics[command], round(1e9 * (at + 1e-3)), asked)
    return path


def _odometry(make: Callable[..., Any]) -> Any:
    """An empty nav_msgs/Odometry."""
    geometry = "geometry_msgs/msg/"
    zero = {"x": 0.0, "y": 0.0, "z": 0.0}
    time_ = make("builtin_interfaces/msg/Time", sec=0, nanosec=0)
    pose = make(
        f"{geometry}Pose",
        position=make(f"{geometry}Point", **zero),
        orientation=make(f"{geometry}Quaternion", **zero, w=1.0),
    )
    twist = make(
        f"{geometry}Twist",
        linear=make(f"{geometry}Vector3", **zero),
        angular=make(f"{geometry}Vector3", **zero),
    )
    covariance = np.zeros(36)
    return make(
        "nav_msgs/msg/Odometry",
        header=make("std_msgs/msg/Header", stamp=time_, frame_id="map"),
        child_frame_id="base_link",
        pose=make(f"{geometry}PoseWithCovariance", pose=pose, covariance=covariance),
        twist=make(f"{geometry}TwistWithCovariance", twist=twist, covariance=covariance),
    )


def _bag(folder: Path, system: System, count: int) -> Path:
    """A bag with transitions of random rollouts, as the recorder writes it."""
    definitions = Definitions(prefixes(os.environ))
    recording = Recording(folder / "bag", {}, Limits(piece=1e5, total=1e5, reserve=0.0))
    recording.add_topic("/transition", definitions.of(TRANSITION))
    states, actions, after = random_transitions(system, "real", min(count, 4096))
    fields = {
        "header": definitions.make(
            "std_msgs/msg/Header",
            stamp=definitions.make("builtin_interfaces/msg/Time", sec=1, nanosec=1),
            frame_id="",
        ),
        "run": "bench", "robot": "", "episode": 0, "mode": 1, "spec_hash": system.spec_hash,
        "policy_version": 1, "policy_hash": "0" * 64, "reward": 0.0, "terminated": False,
        "truncated": False, "intervention": False, "source": 0, "guard_reason": "", "excluded": "",
        "dt": system.dt, "action_latency": 0.0,
    }  # fmt: skip
    for number in range(count):
        row = number % len(states)
        message = definitions.make(
            TRANSITION,
            **fields,
            number=number,
            step=number,
            state=states[row],
            action_requested=actions[row],
            action_applied=actions[row],
            next_state=after[row],
        )
        recording.write("/transition", definitions.serialized(message, TRANSITION))
    recording.close()
    if recording.failure is not None:
        raise UserError(f"cannot write the bag of the bench: {recording.failure}")
    return folder / "bag"

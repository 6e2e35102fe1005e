"""Bags for the tests: transitions of a simulated quadrotor, written without ROS."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from deepilc.bags.definitions import Definitions
from deepilc.bags.recording import Limits, Recording
from deepilc.bags.transitions import TRANSITION
from deepilc.transition import Mode, Source, Transition
from sims import registry
from tests.conftest import ROOT

SYSTEM = registry.get("rexquadrotor")
MESSAGES = ROOT / "ros2_ws" / "src" / "deepilc_msgs" / "msg"
STORE = get_typestore(Stores.ROS2_JAZZY)
STORE.register(get_types_from_msg((MESSAGES / "Transition.msg").read_text(), TRANSITION))


def definitions(folder: Path) -> Definitions:
    """Definitions out of the checkout, where no ROS is installed."""
    share = folder / "prefix" / "share"
    if not share.exists():
        share.mkdir(parents=True)
        (share / "deepilc_msgs").symlink_to(MESSAGES.parent)
    return Definitions([folder / "prefix"])


def flight(
    episodes: int = 4, steps: int = 30, *, parameters: Any = "real", seed: int = 0
) -> list[Transition]:
    """Transitions with actions around hovering; the last step of each episode is truncated."""
    rng = np.random.default_rng(seed)
    world = SYSTEM.model(parameters)
    hover = SYSTEM.resolve(parameters).hover_action
    made: list[Transition] = []
    for episode in range(episodes):
        state = SYSTEM.reset(rng, parameters)
        for step in range(steps):
            action = (hover + rng.uniform(-1.0, 1.0, 4)).astype(np.float32)
            after = world.step(state, action)
            made.append(
                Transition(
                    number=len(made),
                    episode=episode,
                    step=step,
                    mode=Mode.TRAIN,
                    state=state,
                    action_requested=action,
                    action_applied=action,
                    reward=float(np.float32(SYSTEM.reward(state, action, after))),
                    next_state=after,
                    terminated=False,
                    truncated=step == steps - 1,
                    intervention=False,
                    source=Source.POLICY,
                    guard_reason="",
                    dt=SYSTEM.dt,
                    policy_version=1,
                )
            )
            state = after
    return made


def changed(transitions: list[Transition], index: int, **values: Any) -> list[Transition]:
    """The same with one transition changed."""
    result = list(transitions)
    result[index] = replace(result[index], **values)
    return result


def serialized(transition: Transition, run: str = "run", spec_hash: str | None = None) -> bytes:
    """A transition as CDR, by rosbags."""
    types = STORE.types
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=transition.number % 2**31, nanosec=7),
        frame_id="",
    )
    message = types[TRANSITION](
        header=header,
        run=run,
        robot=transition.robot,
        number=transition.number,
        episode=transition.episode,
        step=transition.step,
        mode=int(transition.mode),
        spec_hash=SYSTEM.spec_hash if spec_hash is None else spec_hash,
        policy_version=transition.policy_version,
        policy_hash="a" * 64,
        state=transition.state,
        action_requested=transition.action_requested,
        action_applied=transition.action_applied,
        reward=transition.reward,
        next_state=transition.next_state,
        terminated=transition.terminated,
        truncated=transition.truncated,
        intervention=transition.intervention,
        source=int(transition.source),
        guard_reason=transition.guard_reason,
        excluded=transition.excluded,
        dt=transition.dt,
        action_latency=transition.action_latency,
    )
    return bytes(STORE.serialize_cdr(message, TRANSITION))


def record(folder: Path, messages: Iterable[bytes], **limits: float) -> Path:
    """A bag in MCAP by our own recording; returns its folder."""
    bag = folder / "bag"
    recording = Recording(bag, {"run": "run"}, Limits(**{"reserve": 0.0, **limits}))
    recording.add_topic("/transition", definitions(folder).of(TRANSITION))
    for message in messages:
        recording.write("/transition", message)
    recording.close()
    assert recording.failure is None
    return bag


def record_with_rosbags(
    path: Path,
    messages: Iterable[bytes],
    plugin: StoragePlugin = StoragePlugin.SQLITE3,
    topic: str = "/robot1/transition",
) -> Path:
    """A bag by rosbags, as `ros2 bag record` makes it."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection(topic, TRANSITION, typestore=STORE)
        for index, message in enumerate(messages):
            writer.write(connection, 10**9 + index, message)
    return path


def endless(transitions: list[Transition]) -> Iterator[bytes]:
    """The same transitions over and over, numbered on, serialized."""
    for number in count():
        yield serialized(replace(transitions[number % len(transitions)], number=number))


def all_serialized(transitions: Iterable[Transition], **more: Any) -> Iterator[bytes]:
    """Serialized one after the other."""
    return (serialized(transition, **more) for transition in transitions)

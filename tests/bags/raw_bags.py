"""Bags with a robot's own topics, as `ros2 bag record` would make them."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from deepilc.robot.inverse import write_source
from deepilc.robot.profile import Profile, load
from deepilc.transition import Transition
from tests.bags.writing import SYSTEM

STORE = get_typestore(Stores.ROS2_JAZZY)
ODOM, COMMAND = "odom", "rotor_controller/commands"
PERIOD = SYSTEM.dt
BEGIN = 1000.0  # s
EARLY = 0.001  # s that a state is measured before the command that answers it

Event = tuple[float, str, Any]
"""Time, topic, message."""


def profile(**changes: Any) -> Profile:
    """The shipped quadrotor with odometry, one message per period."""
    shipped = load("quadrotor_odometry").model_dump(mode="json")
    shipped["sources"][ODOM] |= {"rate": None, "max_age": 0.06, "stuck_after": None}
    shipped["bounds"] = {name: [-1e3, 1e3] for name in shipped["bounds"]}
    return Profile.model_validate({**shipped, **changes})


def profile_with(**changes: Any) -> Profile:
    """`profile` with other values about the odometry."""
    return profile(
        sources={ODOM: {**profile().model_dump(mode="json")["sources"][ODOM], **changes}}
    )


PROFILE = profile()


def odometry(state: np.ndarray, at: float) -> Any:
    types = STORE.types
    vector, quaternion = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
    point, zeros = types["geometry_msgs/msg/Point"], np.zeros(36)
    message = types["nav_msgs/msg/Odometry"](
        header=types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id="map"
        ),
        child_frame_id="base_link",
        pose=types["geometry_msgs/msg/PoseWithCovariance"](
            pose=types["geometry_msgs/msg/Pose"](
                position=point(0.0, 0.0, 0.0), orientation=quaternion(0.0, 0.0, 0.0, 1.0)
            ),
            covariance=zeros,
        ),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](
            twist=types["geometry_msgs/msg/Twist"](
                linear=vector(0.0, 0.0, 0.0), angular=vector(0.0, 0.0, 0.0)
            ),
            covariance=zeros,
        ),
    )
    write_source(PROFILE, PROFILE.sources[ODOM], SYSTEM, state, at, message)
    return message


def command(action: np.ndarray) -> Any:
    layout = STORE.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    kind = STORE.types["std_msgs/msg/Float64MultiArray"]
    return kind(layout=layout, data=np.asarray(action, np.float64))


def events(flights: list[list[Transition]], pause: float = 1.0) -> Iterator[Event]:
    """What robot and controller publish during each flight; nothing in the pauses between."""
    now = BEGIN
    for rows in flights:
        for row in rows:
            yield now - EARLY, ODOM, odometry(row.state, now - EARLY)
            yield now, COMMAND, command(row.action_applied)
            now += PERIOD
        yield now - EARLY, ODOM, odometry(rows[-1].next_state, now - EARLY)
        yield now, COMMAND, command(rows[-1].action_applied)
        now += pause


def clock_moved(event: Event, by: float) -> Event:
    """The same where the clock of everything is `by` seconds ahead: of recording and of stamps."""
    at, topic, message = event
    if topic == ODOM:
        stamp = message.header.stamp
        moved = stamp.sec + 1e-9 * stamp.nanosec + by
        whole = math.floor(moved)
        stamp = replace(stamp, sec=whole, nanosec=min(999_999_999, round(1e9 * (moved - whole))))
        message = replace(message, header=replace(message.header, stamp=stamp))
    return at + by, topic, message


def write(
    path: Path,
    happened: list[Event],
    namespace: str = "",
    plugin: StoragePlugin = StoragePlugin.MCAP,
    compressed: bool = False,
) -> Path:
    """A bag of these events, in this order; its file may be compressed as a whole."""
    kinds = {ODOM: "nav_msgs/msg/Odometry", COMMAND: "std_msgs/msg/Float64MultiArray"}
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compressed:
        writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        connections = {
            topic: writer.add_connection(f"{namespace}/{topic}", kind, typestore=STORE)
            for topic, kind in kinds.items()
            if any(topic == name for _, name, _ in happened)
        }
        for at, topic, message in happened:
            data = STORE.serialize_cdr(message, kinds[topic])
            writer.write(connections[topic], round(1e9 * at), bytes(data))
    return path

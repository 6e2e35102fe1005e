"""Pose, path and TF of the system that a bridge drives, for RViz; it only listens.

The path is that of the episode; a robot's pose is shown between episodes and in a safe stop too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Path
from rclpy.node import Node

from deepilc_msgs.msg import Observation
from deepilc_ros import conversions, parameters, process
from deepilc_ros.parameters import Setting
from deepilc_ros.qos import PACING, REAL_TIME, newest_for
from deepilc_ros.robots import ROBOTS
from deepilc_ros.run_name import RUN, run_name
from sims import registry
from sims.pictures.kinematics import Kinematics

SETTINGS = (
    RUN,
    PACING,
    ROBOTS,  # not used: all nodes of a stack get it
    Setting("frame", "world", "Frame of poses (ENU, z up)."),
    Setting(
        "prefix", "", "Put before the names of the bodies' frames, to tell robots apart in RViz."
    ),
    Setting(
        "path_length", 1000, "Poses that the path of an episode keeps.", low=1, high=100_000
    ),
    Setting(
        "path_every",
        5,
        "Steps between two publications of the path, which grows with the episode.",
        low=1,
        high=10_000,
    ),
)  # fmt: skip


class PoseNode(Node):
    """Node around `Kinematics`."""

    def __init__(self) -> None:
        super().__init__("pose")
        parameters.declare_run_settings(self)
        self._values = parameters.declare(self, SETTINGS)
        parameters.refuse_unknown(self)
        config = parameters.run_settings(self)
        self.run = run_name(self._values["run"])
        self._system = registry.get(config.system)
        self._kinematics = Kinematics(self._system)
        self._path = Path()
        self._path.header.frame_id = self._values["frame"]
        self._episode = -1
        self._poses = self.create_publisher(PoseStamped, "pose", 1)
        self._paths = self.create_publisher(Path, "path", 1)
        self._send_frames = self._frame_sender()
        qos = newest_for(self._values["pacing"])
        self.create_subscription(Observation, "observation", self._on_observation, qos)
        # a robot between episodes and in a safe stop: where it is, but no path
        self.create_subscription(Observation, "robot_state", self._on_state, newest_for(REAL_TIME))

    # --- process ----------------------------------------------------------------------------

    finished = False

    def start(self) -> None:
        """Nothing beyond the constructor."""

    def after_events(self) -> None:
        """Nothing to do between events."""

    def close(self) -> None:
        """Nothing to release."""

    # --- rest -------------------------------------------------------------------------------

    def _on_observation(self, message: Observation) -> None:
        if (pose := self._on_state(message)) is not None:
            self._lengthen_path(pose, message.episode, message.step)

    def _on_state(self, message: Observation) -> PoseStamped | None:
        """Shows a state; None where it cannot be shown."""
        if message.run != self.run or message.spec_hash != self._system.spec_hash:
            return None
        try:
            state = conversions.numbers(message.state, self._system.state.size, "state")
        except ValueError:
            return None
        if not np.isfinite(state).all():
            return None
        positions, quaternions = self._kinematics.poses(state)
        pose = PoseStamped()
        pose.header.stamp = message.header.stamp
        pose.header.frame_id = self._values["frame"]
        _set_point(pose.pose.position, positions[0])
        _set_quaternion(pose.pose.orientation, quaternions[0])
        self._poses.publish(pose)
        self._send_frames(pose.header, positions, quaternions)
        return pose

    def _lengthen_path(self, pose: PoseStamped, episode: int, step: int) -> None:
        if episode != self._episode:
            self._episode = episode
            self._path.poses = []
        self._path.poses.append(pose)
        del self._path.poses[: -self._values["path_length"]]
        if step % self._values["path_every"] == 0:
            self._path.header.stamp = pose.header.stamp
            self._paths.publish(self._path)

    def _frame_sender(self) -> Callable[[Any, np.ndarray, np.ndarray], None]:
        """What sends the bodies' frames to /tf, if this ROS 2 has its message."""
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            self.get_logger().warning("no tf2_msgs here: pose and path are published, TF is not")
            return lambda header, positions, quaternions: None
        publisher = self.create_publisher(TFMessage, "/tf", 10)
        names = [self._values["prefix"] + name for name in self._kinematics.bodies]

        def send(header: Any, positions: np.ndarray, quaternions: np.ndarray) -> None:
            frames = []
            for name, position, quaternion in zip(names, positions, quaternions, strict=True):
                frame = TransformStamped(header=header, child_frame_id=name)
                _set_point(frame.transform.translation, position)
                _set_quaternion(frame.transform.rotation, quaternion)
                frames.append(frame)
            publisher.publish(TFMessage(transforms=frames))

        return send


def _set_point(message: Any, xyz: np.ndarray) -> None:
    message.x, message.y, message.z = map(float, xyz)


def _set_quaternion(message: Any, wxyz: np.ndarray) -> None:
    """ROS writes x, y, z, w; MuJoCo w first."""
    message.w, message.x, message.y, message.z = map(float, wxyz)


def main() -> int:
    """Entry point."""
    return process.run(PoseNode)

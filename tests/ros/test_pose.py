"""Pose and path for RViz, from real observations on DDS."""

from typing import Any

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path

from deepilc.paths import CONFIG
from deepilc_msgs.msg import Observation
from deepilc_ros import conversions
from sims import registry

pytestmark = pytest.mark.ros

SYSTEM = registry.get("rexquadrotor")


def observation(run: str, episode: int, step: int, state: np.ndarray) -> Observation:
    message = Observation(run=run, episode=episode, step=step, spec_hash=SYSTEM.spec_hash)
    message.state = conversions.floats(state)
    return message


def test_poses_follow_the_observations_and_a_new_episode_begins_a_new_path(
    nodes: Any, probe: Any, small: dict[str, Any]
) -> None:
    nodes.parameters = {**small, "run": "shown"}
    poses = probe.listen(PoseStamped, "pose")
    paths = probe.listen(Path, "path")
    nodes.start("pose", path_every=1)
    publisher = probe.publisher(Observation, "observation")
    state = np.zeros(SYSTEM.state.size, np.float32)
    state[:6] = 1.0, -2.0, 3.0, 0.1, 0.2, -0.3
    sent = [(0, 0), (0, 1), (0, 2), (1, 0)]
    for count, (episode, step) in enumerate(sent, start=1):
        state[0] = count
        publisher.publish(observation("another", episode, step, state))
        bad = state.copy()
        bad[2] = np.nan
        publisher.publish(observation("shown", episode, step, bad))
        probe.spin(0.05)
        publisher.publish(observation("shown", episode, step, state))
        probe.until(lambda n=count: len(poses) >= n and len(paths) >= n, f"pose {count}")
    assert [pose.pose.position.x for pose in poses] == [1.0, 2.0, 3.0, 4.0]
    assert [len(path.poses) for path in paths] == [1, 2, 3, 1]
    q = poses[0].pose.orientation
    p = np.array([0.1, 0.2, -0.3])
    expected = np.array([1.0 - p @ p, *(2.0 * p)]) / (1.0 + p @ p)
    np.testing.assert_allclose([q.w, q.x, q.y, q.z], expected, atol=1e-6)
    assert poses[0].header.frame_id == "world"
    looked = probe.publisher(Observation, "robot_state")
    state[0] = 9.0
    looked.publish(observation("shown", 2, 0, state))
    probe.until(lambda: poses[-1].pose.position.x == 9.0, "the pose between episodes")
    assert len(paths) == 4
    rviz = yaml.safe_load((CONFIG / "rviz" / "deepilc.rviz").read_text())["Visualization Manager"]
    there = dict(probe.node.get_publisher_names_and_types_by_node("pose", "/"))
    kinds = {"Pose": "geometry_msgs/msg/PoseStamped", "Path": "nav_msgs/msg/Path"}
    shown = [display for display in rviz["Displays"] if "Topic" in display]
    for display in shown:
        kind = kinds[display["Class"].removeprefix("rviz_default_plugins/")]
        assert there["/" + display["Topic"]["Value"]] == [kind]
    assert len(shown) == 2 and rviz["Global Options"]["Fixed Frame"] == "world"

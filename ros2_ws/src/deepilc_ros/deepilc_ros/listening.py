"""Who listens to a robot's commands: the robot, as opposed to those who only record them."""

from rclpy.node import Node

__all__ = ["listeners"]

RECORDERS = ("recorder", "rosbag2_recorder")  # ours, and that of `ros2 bag record`


def listeners(node: Node, topic: str) -> list[str]:
    """Names of the nodes that listen to a topic, wherever it is remapped to, recorders left out."""
    found = node.get_subscriptions_info_by_topic(topic)
    return [info.node_name for info in found if info.node_name not in RECORDERS]

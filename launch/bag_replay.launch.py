"""Learning from bags: the nodes of config/bag_replay.yaml as launch_ros actions.

ros2 launch deepilc_ros bag_replay.launch.py bag:=runs/monday [name:=value ...]
(--show-args explains them)
"""

from deepilc_ros.launching import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes follow once their values are known."""
    text = "Folders or files of bags, or run folders, separated by colons; must be given."
    return describe("bag_replay", {"bag": ("nodes.player.parameters.bags", text)})

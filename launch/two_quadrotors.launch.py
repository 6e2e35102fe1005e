"""Two quadrotors, one learner: the nodes of config/two_quadrotors.yaml as launch_ros actions.

ros2 launch deepilc_ros two_quadrotors.launch.py [name:=value ...]  (--show-args explains them)
"""

from deepilc_ros.launching import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes follow once their values are known."""
    return describe("two_quadrotors")

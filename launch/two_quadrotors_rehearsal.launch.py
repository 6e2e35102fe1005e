"""Two robots with fake_robot, one learner: config/two_quadrotors_rehearsal.yaml, launched.

ros2 launch deepilc_ros two_quadrotors_rehearsal.launch.py [name:=value ...]  (--show-args: help)
"""

from deepilc_ros.launching import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes follow once their values are known."""
    return describe("two_quadrotors_rehearsal")

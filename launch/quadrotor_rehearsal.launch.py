"""The rehearsal with fake_robot: the nodes of config/quadrotor_rehearsal.yaml, launched.

ros2 launch deepilc_ros quadrotor_rehearsal.launch.py [name:=value ...]  (--show-args explains them)
"""

from deepilc_ros.launching import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes follow once their values are known."""
    return describe("quadrotor_rehearsal")

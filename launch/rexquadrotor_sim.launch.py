"""The paper's quadrotor in simulation: config/rexquadrotor_sim.yaml as launch_ros actions.

ros2 launch deepilc_ros rexquadrotor_sim.launch.py [name:=value ...]  (--show-args explains them)
"""

from deepilc_ros.launching import describe
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes follow once their values are known."""
    return describe("rexquadrotor_sim")

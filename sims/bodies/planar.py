"""What planar robots have in common as systems: spaces, start states and kernels.

The equations of motion are in `sims.bodies.planar_equations`, robots are data
(`sims.bodies.planar_robot`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.bodies.planar_parameters import PlanarParameters
from sims.bodies.planar_robot import PlanarRobot
from sims.engines.warp_system import WarpSystem
from sims.space import Space

if TYPE_CHECKING:
    from sims.engines.warp_model import Kernels
    from sims.scene import Scene

HEIGHT, PITCH = 0, 1  # places in the state


class PlanarSystem(WarpSystem):
    """A robot with K links that is to run forward in the vertical plane.

    State (n = 2 K + 3): height of the first link's origin above the ground (m) and its pitch (rad),
    the K - 1 joint angles (rad), then the velocity of that origin (m/s; x forward, z up), the pitch
    rate and the joint rates (rad/s). Nothing depends on how far the robot has gone, so that is left
    out. Pitch is not wrapped: a somersault shows. Actions -1..1 are shares of the joints' torque.

    Where the published simulator departs from physics, `nominal` and `real` have it right and the
    sets `published` and `published_nominal` have it as published:

    * Damping of 10 N m s/rad, meant for joints at the end of their range, acts everywhere, even on
      the free motion of the first link (10 N per m/s, like a strong wind). Here joints have it only
      beyond their range, growing over the first 0.05 rad so that torques stay continuous.
    * The motors' armature is added to the mass of the first link as well: it falls too slowly.
    * The mass matrix is computed once per control period, and 16 integration steps are taken.
      Here both are done 64 times, which leaves an error of 0.3 % of a period's motion on the real
      ground (median of random actions; 1.5 % in the worst of 100 periods).
    """

    ROBOT: PlanarRobot
    START_HEIGHT: float  # of the first link's origin, m
    START_NOISE: float  # start height and angles vary by plus or minus this, m and rad
    START_RATE_NOISE: float  # so do velocities and rates, m/s and rad/s

    def __init__(
        self,
        description: str,
        reward_description: str,
        parameter_sets: Mapping[str, PlanarParameters],
    ) -> None:
        """Assembles a system.

        Args:
            description: One sentence.
            reward_description: Reward and ends in words.
            parameter_sets: Sets nominal, real, published and published_nominal.
        """
        robot = self.ROBOT
        joints = len(robot.joints)
        super().__init__(
            name=robot.name,
            description=description,
            state=_state_space(robot, self.START_HEIGHT),
            action=Space.bounded(robot.joints, ("share of torque",) * joints, -1.0, 1.0),
            dt=1.0 / 60.0,
            horizon=1000,
            attitude=None,
            reward_description=reward_description,
            safe_action=np.zeros(joints),
            parameter_sets=parameter_sets,
        )

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws states near rest, the same for all sets: upright, all joints at 0."""
        coordinates = len(self.ROBOT.links) + 1
        rates = self.state.size - coordinates
        noise = np.repeat([self.START_NOISE, self.START_RATE_NOISE], [coordinates, rates])
        state = rng.uniform(-noise, noise, (count, self.state.size))
        state[:, HEIGHT] += self.START_HEIGHT
        return state

    def scene(self) -> "Scene":
        """The robot's capsules, seen from the side by a camera that runs along."""
        from sims.bodies.planar_scene import planar_scene

        return planar_scene(self.ROBOT, self.dt)

    def _kernels(self) -> "Kernels":
        from sims.bodies.planar_kernels import planar_kernels

        return planar_kernels(self.ROBOT)


def _state_space(robot: PlanarRobot, height: float) -> Space:
    joints = len(robot.joints)
    angles = ("pitch", *robot.joints)
    return Space.unbounded(
        names=("z", *angles, "vx", "vz", *(f"{name}_rate" for name in angles)),
        units=("m", *("rad",) * (joints + 1), "m/s", "m/s", *("rad/s",) * (joints + 1)),
        center=np.repeat([height, 0.0], [1, 2 * joints + 4]),
        # half a metre of height, one radian, a brisk run, quick but ordinary joints
        scale=np.repeat([0.5, 1.0, 5.0, 10.0], [1, joints + 1, 2, joints + 1]),
    )


def effort(action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squares of actions within their bounds, as the motors see them.

    Args:
        action: (..., m).

    Returns:
        The sum (...) and its derivatives by the actions (..., m), 0 where the bound acts; float64.
    """
    seen = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
    return np.sum(seen**2, axis=-1), np.where(np.abs(action) <= 1.0, 2.0 * seen, 0.0)

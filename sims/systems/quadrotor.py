"""What the quadrotors have in common: kernels, start states and how parameters are drawn."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sims.bodies import mrp
from sims.bodies.mrp_body import ATTITUDE, MrpBody
from sims.systems.quadrotor_parameters import QuadrotorParameters, randomise

if TYPE_CHECKING:
    from sims.engines.warp_model import Kernels


class Quadrotor(MrpBody):
    """A rigid body with four rotors. World east-north-up; velocity and rates forward-left-up.

    Starts are uniform: positions within START_POSITION (m), Euler angles within START_ANGLE (rad),
    velocities within START_VELOCITY (m/s), rates within START_RATE (rad/s) of zero.
    """

    START_POSITION = 5.0
    START_ANGLE = np.deg2rad(70.0)
    START_VELOCITY: float
    START_RATE: float

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws position, Euler angles, velocity and rates; the MRP has |p| <= 1."""
        state, quaternion = self._draw(rng, count)
        state[:, ATTITUDE] = mrp.switch(mrp.from_quaternion(quaternion))
        return state

    def _draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Start states (count, 12) that lack their attitude, and quaternions for it."""
        widths = [self.START_POSITION, self.START_ANGLE, self.START_VELOCITY, self.START_RATE]
        limits = np.repeat(widths, 3)
        state = rng.uniform(-limits, limits, (count, 12))
        return state, mrp.quaternion_from_euler(state[:, ATTITUDE])

    def randomise(
        self, rng: np.random.Generator, parameters: Any, fraction: float
    ) -> QuadrotorParameters:
        """A vehicle near `parameters` that can hover; see `quadrotor_parameters.randomise`."""
        low, high = float(self.action.low[0]), float(self.action.high[0])
        return randomise(rng, self.resolve(parameters), fraction, low, high)

    def _kernels(self) -> "Kernels":
        from sims.systems.quadrotor_dynamics import KERNELS

        return KERNELS

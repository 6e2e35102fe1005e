"""The quadrotor that flies to the origin: spaces, start states, reward and ends.

Frames: world east-north-up (z up), body forward-left-up. Velocity and rates are body vectors.
The equations of motion are in `sims.systems.quadrotor_dynamics`.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.bodies import mrp
from sims.bodies.mrp_body import ATTITUDE, EXPONENTIAL, exponential, squares, state_space
from sims.errors import UserError
from sims.space import Space
from sims.systems.mujoco_quadrotor import (
    ROTORS,
    MujocoParameters,
    MujocoQuadrotor,
    randomise_all,
    real_world,
)
from sims.systems.quadrotor import Quadrotor
from sims.systems.quadrotor_parameters import QuadrotorParameters
from sims.systems.rexquadrotor_parameters import PARAMETER_SETS

if TYPE_CHECKING:
    from sims.engines.warp_model import WarpModel
    from sims.scene import Scene
    from sims.simulation import Simulation


WEIGHTS = (10.0, 10.0, 1.0, 1.0)  # of position, attitude, velocity and rates in the cost,
DIVISOR = 200.0  # which are divided by this
EFFORT, EFFORT_DIVISOR = 1e-4, 20.0  # the same of the actions


class RexQuadrotor(Quadrotor):
    """Twelve states, four rotors on the diagonals; reward for hovering level at the origin.

    Rotor positions are arm * (1, 1), (1, -1), (-1, -1), (-1, 1) / sqrt(2) in body x, y; yaw torque
    is km * (u1 - u2 + u3 - u4). This is the quadrotor of the value-gradient paper (after Jackson et
    al., 2022): the real vehicle has drag and 10 % other parameters, the nominal one has no drag.
    A second real world, the set `mujoco`, has slow motors and wind too
    (`sims.systems.mujoco_quadrotor`).
    What the paper's published code does differently is in the `published` sets.
    """

    START_VELOCITY = 0.5
    START_RATE = 0.25
    STATE_COST = np.repeat(WEIGHTS, 3) / DIVISOR
    ACTION_COST = np.full(4, EFFORT) / EFFORT_DIVISOR
    MAX_COST = 500.0

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("rexquadrotor")`."""
        super().__init__(
            name="rexquadrotor",
            description="Quadrotor that has to fly from a tilted start within 5 m to the origin",
            # start positions reach 5 m; a short MRP 1; 5 m/s and 5 rad/s are brisk, ordinary flight
            state=state_space(position=5.0, attitude=1.0, velocity=5.0, rate=5.0),
            action=Space.bounded(ROTORS, ("hundreds of throttle ticks",) * 4, 11.5, 18.3),
            dt=0.05,
            horizon=100,
            attitude="mrp (0 = level), body FLU to world ENU",
            reward_description=(
                f"{EXPONENTIAL}, c = ({squares(WEIGHTS, 'rpvw')})/{DIVISOR:g} + "
                f"{squares([EFFORT], 'a')}/{EFFORT_DIVISOR:g} at the next state; terminated with "
                f"reward 0 where c > {self.MAX_COST:g} or not finite"
            ),
            safe_action=np.full(4, PARAMETER_SETS["nominal"].hover_action),
            parameter_sets=MappingProxyType({**PARAMETER_SETS, "mujoco": real_world()}),
        )

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws position U(±5 m), Euler angles U(±70°), velocity U(±0.5), rates U(±0.25).

        The MRP has |p| <= 1 for sets with start "short". With start "shadow" it is the MRP of the
        negated quaternion, |p| >= 1.
        """
        if parameters.start != "shadow":
            return super()._starts(rng, parameters, count)
        state, quaternion = self._draw(rng, count)
        state[:, ATTITUDE] = mrp.from_quaternion(-quaternion)
        return state

    def earned(self, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """exp(2 - cost / 2), at most 7.39, and its slope."""
        return exponential(cost)

    def randomise(
        self, rng: np.random.Generator, parameters: Any, fraction: float
    ) -> QuadrotorParameters:
        """A vehicle near `parameters` that can hover; see `quadrotor_parameters.randomise`."""
        low, high = float(self.action.low[0]), float(self.action.high[0])
        base = self.resolve(parameters)
        if isinstance(base, MujocoParameters):
            return randomise_all(rng, base, fraction, low, high)
        return super().randomise(rng, base, fraction)

    def simulation(self, parameters: Any = "real", rows: int = 1) -> "Simulation":
        """Rows to step: in MuJoCo for the set "mujoco", otherwise the model of `parameters`."""
        resolved = self.resolve(parameters)
        if isinstance(resolved, MujocoParameters):
            return MujocoQuadrotor(self, resolved, rows)
        return super().simulation(resolved, rows)

    def scene(self) -> "Scene":
        """The vehicle, drawn larger than life, its path and its target."""
        from sims.systems.quadrotor_scene import scene

        return scene("rexquadrotor.xml")

    def _exact_model(
        self, parameters: Sequence[Any], device: str, norm_bound: float
    ) -> "WarpModel":
        if any(isinstance(each, MujocoParameters) for each in parameters):
            raise UserError(
                "the MuJoCo quadrotor has hidden states (motors, gusts) and is a world only; take "
                "'nominal' as its model"
            )
        return super()._exact_model(parameters, device, norm_bound)

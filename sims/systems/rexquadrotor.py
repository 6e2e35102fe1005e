"""The quadrotor that flies to the origin: spaces, start states, reward and ends.

Frames: world east-north-up (z up), body forward-left-up. Velocity and rates are body vectors.
The equations of motion are in `sims.systems.quadrotor_dynamics`.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.bodies import mrp
from sims.bodies.mrp_body import ATTITUDE, state_space
from sims.errors import UserError
from sims.system import Space
from sims.systems.mujoco_quadrotor import (
    MujocoParameters,
    MujocoQuadrotor,
    randomise_all,
    real_world,
)
from sims.systems.quadrotor import Quadrotor
from sims.systems.quadrotor_parameters import QuadrotorParameters
from sims.systems.rexquadrotor_parameters import NOMINAL_FOR, PARAMETER_SETS

if TYPE_CHECKING:
    from sims.engines.warp_model import WarpModel
    from sims.scene import Scene
    from sims.simulation import Simulation


def _action_space() -> Space:
    low, high = np.full(4, 11.5), np.full(4, 18.3)
    return Space(
        names=("rotor1", "rotor2", "rotor3", "rotor4"),
        units=("hundreds of throttle ticks",) * 4,
        low=low,
        high=high,
        center=0.5 * (low + high),
        scale=0.5 * (high - low),
    )


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
    STATE_COST = np.repeat([10.0, 10.0, 1.0, 1.0], 3) / 2.0 / 100.0
    ACTION_COST = np.full(4, 1e-4) / 2.0 / 10.0
    MAX_COST = 500.0

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("rexquadrotor")`."""
        safe_action = np.full(4, PARAMETER_SETS["nominal"].hover_action, np.float32)
        safe_action.flags.writeable = False
        super().__init__(
            name="rexquadrotor",
            description="Quadrotor that has to fly from a tilted start within 5 m to the origin",
            # start positions reach 5 m; a short MRP 1; 5 m/s and 5 rad/s are brisk, ordinary flight
            state=state_space(position=5.0, attitude=1.0, velocity=5.0, rate=5.0),
            action=_action_space(),
            dt=0.05,
            horizon=100,
            attitude="mrp (0 = level), body FLU to world ENU",
            reward_description=(
                "exp(2 - c/2), c = (10 |r|^2 + 10 |p|^2 + |v|^2 + |w|^2)/200 + 1e-4 |a|^2/20 at "
                "the next state; terminated with reward 0 where c > 500 or not finite"
            ),
            safe_action=safe_action,
            parameter_sets=MappingProxyType({**PARAMETER_SETS, "mujoco": real_world()}),
            nominal_for=MappingProxyType({**NOMINAL_FOR, "mujoco": "nominal"}),
        )

    def reset(
        self, rng: np.random.Generator, parameters: Any = "real", count: int | None = None
    ) -> np.ndarray:
        """Draws position U(±5 m), Euler angles U(±70°), velocity U(±0.5), rates U(±0.25).

        The MRP has |p| <= 1 for sets with start "short". With start "shadow" it is the MRP of the
        negated quaternion, |p| >= 1.
        """
        if self.resolve(parameters).start != "shadow":
            return super().reset(rng, parameters, count)
        state, quaternion = self._draw(rng, 1 if count is None else count)
        state[:, ATTITUDE] = mrp.from_quaternion(-quaternion)
        result = state.astype(np.float32)
        return result[0] if count is None else result

    def earned(self, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """exp(2 - cost / 2), at most 7.39, and its slope."""
        value = np.exp(2.0 - 0.5 * cost)
        return value, -0.5 * value

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

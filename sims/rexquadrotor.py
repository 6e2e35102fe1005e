"""The quadrotor that flies to the origin: spaces, start states, reward and ends.

Frames: world east-north-up (z up), body forward-left-up. Velocity and rates are body vectors.
The equations of motion are in `sims.quadrotor_dynamics`.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sims import mrp
from sims.errors import UserError
from sims.mujoco_quadrotor import MujocoParameters, MujocoQuadrotor, randomise_all, real_world
from sims.quadrotor_parameters import randomise
from sims.rexquadrotor_parameters import NOMINAL_FOR, PARAMETER_SETS, Parameters
from sims.system import Space
from sims.warp_system import WarpSystem

if TYPE_CHECKING:
    from sims.scene import Scene
    from sims.simulation import Simulation
    from sims.warp_model import Kernels, WarpModel

ATTITUDE = slice(3, 6)
MAX_COST = 500.0
START_POSITION = 5.0  # m
START_ANGLE = np.deg2rad(70.0)
START_VELOCITY = 0.5  # m/s
START_RATE = 0.25  # rad/s

# cost = next_state^2 . _STATE_COST + action^2 . _ACTION_COST
_STATE_COST = np.repeat([10.0, 10.0, 1.0, 1.0], 3) / 2.0 / 100.0
_ACTION_COST = np.full(4, 1e-4) / 2.0 / 10.0


def _state_space() -> Space:
    return Space(
        names=("x", "y", "z", "p1", "p2", "p3", "vx", "vy", "vz", "wx", "wy", "wz"),
        units=("m",) * 3 + ("1",) * 3 + ("m/s",) * 3 + ("rad/s",) * 3,
        low=np.full(12, -np.inf),
        high=np.full(12, np.inf),
        center=np.zeros(12),
        # start positions reach 5 m; a short MRP 1; 5 m/s and 5 rad/s are brisk but ordinary flight
        scale=np.repeat([5.0, 1.0, 5.0, 5.0], 3),
    )


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


class RexQuadrotor(WarpSystem):
    """Twelve states, four rotors on the diagonals; reward for hovering level at the origin.

    Rotor positions are arm * (1, 1), (1, -1), (-1, -1), (-1, 1) / sqrt(2) in body x, y; yaw torque
    is km * (u1 - u2 + u3 - u4). This is the quadrotor of the value-gradient paper (after Jackson et
    al., 2022): the real vehicle has drag and 10 % other parameters, the nominal one has no drag.
    A second real world, the set `mujoco`, has slow motors and wind too (`sims.mujoco_quadrotor`).
    What the paper's published code does differently is in the `published` sets.
    """

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("rexquadrotor")`."""
        safe_action = np.full(4, PARAMETER_SETS["nominal"].hover_action, np.float32)
        safe_action.flags.writeable = False
        super().__init__(
            name="rexquadrotor",
            description="Quadrotor that has to fly from a tilted start within 5 m to the origin",
            state=_state_space(),
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
        start = self.resolve(parameters).start
        limits = np.repeat([START_POSITION, START_ANGLE, START_VELOCITY, START_RATE], 3)
        state = rng.uniform(-limits, limits, (1 if count is None else count, 12))
        quaternion = mrp.quaternion_from_euler(state[:, ATTITUDE])
        if start == "shadow":
            state[:, ATTITUDE] = mrp.from_quaternion(-quaternion)
        else:
            state[:, ATTITUDE] = mrp.switch(mrp.from_quaternion(quaternion))
        result = state.astype(np.float32)
        return result[0] if count is None else result

    def _reward_and_alive(
        self, action: np.ndarray, next_state: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reward and survival in float64, so that float32 results do not depend on the batch."""
        square = np.square(next_state, dtype=np.float64)
        cost = np.add.reduce(square * _STATE_COST, axis=-1)
        square = np.square(action, dtype=np.float64)
        cost = cost + np.add.reduce(square * _ACTION_COST, axis=-1)
        alive = cost <= MAX_COST  # False for NaN
        return np.where(alive, np.exp(2.0 - 0.5 * cost), 0.0), alive

    def reward(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """exp(2 - cost / 2), at most 7.39; 0 where terminated.

        No step earns less than 0, so ending an episode never pays.
        """
        value, _ = self._reward_and_alive(action, next_state)
        return value if next_state.dtype == np.float64 else value.astype(np.float32)

    def reward_gradient(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """dr/dnext_state and dr/daction: -r times the cost's weights times the coordinates."""
        value, alive = self._reward_and_alive(action, next_state)
        kind = next_state.dtype
        if not alive.all():  # 0 * NaN would be NaN
            next_state = np.where(alive[..., None], next_state, 0.0)
            action = np.where(alive[..., None], action, 0.0)
        factor = -value[..., None]
        by_state, by_action = factor * _STATE_COST * next_state, factor * _ACTION_COST * action
        if kind == np.float64:
            return by_state, by_action
        return by_state.astype(np.float32), by_action.astype(np.float32)

    def terminated(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """True where the cost exceeds 500 (100 m away) or anything is not finite."""
        return ~self._reward_and_alive(action, next_state)[1]

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """States with the MRP on the sheet of `reference`."""
        aligned = np.array(state)
        aligned[..., ATTITUDE] = mrp.align(state[..., ATTITUDE], reference[..., ATTITUDE])
        return aligned

    def randomise(self, rng: np.random.Generator, parameters: Any, fraction: float) -> Parameters:
        """A vehicle near `parameters` that can hover; see `quadrotor_parameters.randomise`."""
        low, high = float(self.action.low[0]), float(self.action.high[0])
        base = self.resolve(parameters)
        if isinstance(base, MujocoParameters):
            return randomise_all(rng, base, fraction, low, high)
        return randomise(rng, base, fraction, low, high)

    def simulation(self, parameters: Any = "real", rows: int = 1) -> "Simulation":
        """Rows to step: in MuJoCo for the set "mujoco", otherwise the model of `parameters`."""
        resolved = self.resolve(parameters)
        if isinstance(resolved, MujocoParameters):
            return MujocoQuadrotor(self, resolved, rows)
        return super().simulation(resolved, rows)

    def scene(self) -> "Scene":
        """The vehicle, drawn larger than life, its path and its target."""
        from sims.rexquadrotor_scene import scene

        return scene()

    def _exact_model(
        self, parameters: Sequence[Any], device: str, norm_bound: float
    ) -> "WarpModel":
        if any(isinstance(each, MujocoParameters) for each in parameters):
            raise UserError(
                "the MuJoCo quadrotor has hidden states (motors, gusts) and is a world only; take "
                "'nominal' as its model"
            )
        return super()._exact_model(parameters, device, norm_bound)

    def _kernels(self) -> "Kernels":
        from sims.quadrotor_dynamics import KERNELS

        return KERNELS

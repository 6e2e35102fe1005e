"""The quadrotor that flies to the origin: spaces, start states, reward and ends.

Frames: world east-north-up (z up), body forward-left-up. Velocity and rates are body vectors.
The equations of motion are in `sims.rexquadrotor_dynamics`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sims import mrp
from sims.rexquadrotor_parameters import NOMINAL_FOR, PARAMETER_SETS, Parameters, randomise
from sims.system import Space, System

if TYPE_CHECKING:
    from sims.finite_difference import FiniteDifferenceModel
    from sims.warp_model import WarpModel

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


class RexQuadrotor(System):
    """Twelve states, four rotors on the diagonals; reward for hovering level at the origin.

    Rotor positions are arm * (1, 1), (1, -1), (-1, -1), (-1, 1) / sqrt(2) in body x, y; yaw torque
    is km * (u1 - u2 + u3 - u4). This is the quadrotor of the value-gradient paper (after Jackson et
    al., 2022): the real vehicle has drag and 10 % other parameters, the nominal one has no drag.
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
            parameter_sets=PARAMETER_SETS,
            nominal_for=NOMINAL_FOR,
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

    def reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """exp(2 - cost / 2), at most 7.39; 0 where terminated.

        No step earns less than 0, so ending an episode never pays.
        """
        value, _ = self._reward_and_alive(action, next_state)
        return value if next_state.dtype == np.float64 else value.astype(np.float32)

    def reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
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
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> np.ndarray:
        """True where the cost exceeds 500 (100 m away) or anything is not finite."""
        return ~self._reward_and_alive(action, next_state)[1]

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """States with the MRP on the sheet of `reference`."""
        aligned = np.array(state)
        aligned[..., ATTITUDE] = mrp.align(state[..., ATTITUDE], reference[..., ATTITUDE])
        return aligned

    def randomise(self, rng: np.random.Generator, parameters: Any, fraction: float) -> Parameters:
        """A vehicle near `parameters` that can hover; see `rexquadrotor_parameters.randomise`."""
        low, high = float(self.action.low[0]), float(self.action.high[0])
        return randomise(rng, self.resolve(parameters), fraction, low, high)

    def _exact_model(
        self, parameters: Sequence[Parameters], device: str, norm_bound: float
    ) -> "WarpModel":
        from sims.rexquadrotor_dynamics import KERNELS
        from sims.warp_model import WarpModel

        return WarpModel(self, parameters, KERNELS, device, norm_bound)

    def _finite_difference_model(
        self, parameters: Parameters, device: str, norm_bound: float
    ) -> "FiniteDifferenceModel":
        from sims.finite_difference import FiniteDifferenceModel

        step = self._exact_model([parameters], device, norm_bound).step_float64
        return FiniteDifferenceModel(self, step, parameters, norm_bound=norm_bound)

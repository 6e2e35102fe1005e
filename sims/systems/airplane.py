"""The airplane that flies to the origin: spaces, start states, reward and ends.

Frames: world with z up, body forward-left-up. Velocity is a WORLD vector, rates are body vectors.
The equations of motion are in `sims.systems.airplane_dynamics`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.bodies.inertia import scaled_inertia
from sims.bodies.mrp_body import (
    ATTITUDE,
    EXPONENTIAL,
    MrpBody,
    exponential,
    squares,
    state_space,
)
from sims.space import Space
from sims.systems.airplane_parameters import (
    NEUTRAL,
    PARAMETER_SETS,
    AirplaneParameters,
)

if TYPE_CHECKING:
    from sims.engines.warp_model import Kernels
    from sims.scene import Scene

START = np.array([-5.0, 0.0, -1.5])  # m
START_WINDOW = 0.5  # m
START_VELOCITY = np.array([5.0, 0.0, 0.0])  # m/s
# Nose 8.64 degrees up: about the angle of attack of level flight at 5 m/s by the nominal model.
# It is the published (0.997156, 0, 0.075366) of a body frame forward-right-down.
PITCHED = np.array([0.0, -0.0377367, 0.0])
HALF_TURN_PITCHED = np.array([0.997156, 0.0, 0.075366])
# Throttle, aileron, elevator and rudder of level flight at 5 m/s by the nominal model
TRIM = np.array([35.57, NEUTRAL, 72.65, NEUTRAL])

WEIGHTS = (1.0, 0.8, 0.1, 0.2)  # of position, attitude, velocity and rates in the cost,
DIVISOR = 20.0  # which is divided by this


class Airplane(MrpBody):
    """Twelve states, throttle and three control surfaces; reward for coming to rest at the origin.

    The task is that of the value-gradient paper, "to get to the origin from a distribution of
    initial positions": the airplane starts level at 5 m/s, 5 m before and 1.5 m below the origin,
    within half a metre. The published code has the same task 5 m farther and 1.5 m higher (start
    around the origin, target (5, 0, 1.5)), which is the same for everything but the coordinates
    that are learned from. Paper: the real airplane has the wing of the wind tunnel and the full
    wash of the propeller, the nominal one a flat plate and a linear wash; mass and span are the
    same. In the published code both are flat plates, with other masses and spans (`published`).

    The published body frame is forward-right-down, so that an upright airplane has an MRP with
    |p| = 1, right where MRPs switch sheets. Here the frame is forward-left-up as for every vehicle,
    and level is 0. Weights of the cost are the published ones; that of the attitude is 0.8 rather
    than 0.2, since a small turn changes an MRP near 0 by half as much as one near |p| = 1. In the
    `published` sets the attitude is weighed by the published MRP itself.
    """

    TARGET = np.concatenate([np.zeros(3), PITCHED, np.zeros(6)])
    STATE_COST = np.repeat(WEIGHTS, 3) / DIVISOR
    ACTION_COST = np.zeros(4)
    MAX_COST = 50.0

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("airplane")`."""
        lean = f"p - ({', '.join(f'{x:g}' for x in PITCHED)})"
        super().__init__(
            name="airplane",
            description="Small aerobatic airplane that has to climb to the origin and stop there",
            # the way is 5 m long at 5 m/s; a short MRP 1; half a turn per second is 3 rad/s
            state=state_space(position=5.0, attitude=1.0, velocity=5.0, rate=5.0),
            action=Space.bounded(
                ("throttle", "aileron", "elevator", "rudder"), ("counts",) * 4, 0.0, 255.0
            ),
            dt=0.04,
            horizon=50,
            attitude="mrp (0 = level), body FLU to world ENU, velocity in world axes",
            reward_description=(
                f"{EXPONENTIAL}, c = ({squares(WEIGHTS, ('r', lean, 'v', 'w'))})/{DIVISOR:g} at "
                f"the next state; terminated with reward 0 where c > {self.MAX_COST:g} or not "
                "finite"
            ),
            safe_action=TRIM,
            parameter_sets=PARAMETER_SETS,
        )

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws positions (-5, 0, -1.5) + U(±0.5)^3 m; the rest is level flight at 5 m/s."""
        state = np.zeros((count, 12))
        state[:, :3] = START + rng.uniform(-START_WINDOW, START_WINDOW, (count, 3))
        state[:, ATTITUDE], state[:, 6:9] = PITCHED, START_VELOCITY
        return state

    def earned(self, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """exp(2 - cost / 2), at most 7.39, and its slope."""
        return exponential(cost)

    def deviation(self, next_state: np.ndarray, parameters: Any) -> np.ndarray:
        """From the target; the attitude in sets with the published cost: by the published MRP."""
        deviation = super().deviation(next_state, parameters)
        if self._half_turn(parameters):
            published = half_turned(next_state[..., ATTITUDE].astype(np.float64))
            deviation[..., ATTITUDE] = 0.5 * (published - HALF_TURN_PITCHED)
        return deviation

    def deviation_gradient(
        self, by_deviation: np.ndarray, next_state: np.ndarray, parameters: Any
    ) -> np.ndarray:
        """Derivatives by the next state from those by the deviation, (..., 12)."""
        if not self._half_turn(parameters):
            return by_deviation
        jacobian = half_turned_derivative(next_state[..., ATTITUDE].astype(np.float64))
        gradient = by_deviation.copy()
        gradient[..., ATTITUDE] = 0.5 * np.sum(
            by_deviation[..., ATTITUDE, None] * jacobian, axis=-2
        )
        return gradient

    def _half_turn(self, parameters: Any) -> bool:
        return parameters is not None and self.resolve(parameters).attitude_cost == "half_turn"

    def randomise(
        self, rng: np.random.Generator, parameters: Any, fraction: float
    ) -> AirplaneParameters:
        """An airplane near `parameters`; its inertia stays that of a possible body."""
        base = self.resolve(parameters)
        drawn = super().randomise(rng, base, fraction)
        factors = rng.uniform(1.0 - fraction, 1.0 + fraction, 3)
        return replace(drawn, inertia=np.diag(scaled_inertia(np.diag(base.inertia), factors)))

    def scene(self) -> "Scene":
        """The airplane, drawn larger than life, its path and its target."""
        from sims.systems.airplane_scene import scene

        return scene()

    def _kernels(self) -> "Kernels":
        from sims.systems.airplane_dynamics import KERNELS

        return KERNELS


def half_turned(p: np.ndarray) -> np.ndarray:
    """MRP (..., 3) of the same body's frame forward-right-down, on the sheet that p lies on.

    With q the quaternion of p and i that of half a turn about x, it is the MRP of q i =
    (-q1, q0, q3, -q2).
    """
    p1, p2, p3 = np.moveaxis(p, -1, 0)
    square = np.sum(p * p, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):  # p = (1, 0, 0): infinite, upside down
        return (
            np.stack([1.0 - square, 2.0 * p3, -2.0 * p2], axis=-1)
            / (1.0 + square - 2.0 * p1)[..., None]
        )


def half_turned_derivative(p: np.ndarray) -> np.ndarray:
    """Derivative (..., 3, 3) of `half_turned` at p."""
    scale = 1.0 + np.sum(p * p, axis=-1) - 2.0 * p[..., 0]
    numerator = np.zeros((*p.shape, 3))
    numerator[..., 0, :] = -2.0 * p
    numerator[..., 1, 2], numerator[..., 2, 1] = 2.0, -2.0
    by_scale = 2.0 * (p - np.array([1.0, 0.0, 0.0]))
    return (numerator - half_turned(p)[..., :, None] * by_scale[..., None, :]) / scale[
        ..., None, None
    ]

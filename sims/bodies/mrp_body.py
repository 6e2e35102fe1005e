"""What vehicles that are one rigid body have in common: coordinates, reward and ends."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from sims.bodies import mrp
from sims.engines.warp_system import WarpSystem
from sims.space import Space

ATTITUDE = slice(3, 6)


def state_space(position: float, attitude: float, velocity: float, rate: float) -> Space:
    """The space of position, MRP, velocity and rates, without bounds.

    Args:
        position: Scale of x, y, z in m.
        attitude: Scale of the MRP.
        velocity: Scale of the velocity in m/s.
        rate: Scale of the rates in rad/s.
    """
    return Space.unbounded(
        names=("x", "y", "z", "p1", "p2", "p3", "vx", "vy", "vz", "wx", "wy", "wz"),
        units=("m",) * 3 + ("1",) * 3 + ("m/s",) * 3 + ("rad/s",) * 3,
        scale=np.repeat([position, attitude, velocity, rate], 3),
    )


LOG_BEST = 2.0  # logarithm of the exponential reward at the target
EXPONENTIAL = f"exp({LOG_BEST:g} - c/2)"


def exponential(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The reward exp(2 - cost / 2), at most 7.39, and its slope."""
    value = np.exp(LOG_BEST - 0.5 * cost)
    return value, -0.5 * value


def squares(weights: Sequence[float], vectors: Sequence[str]) -> str:
    """A weighted sum of squares in words, such as "10 |r|^2 + |v|^2"."""

    def factor(weight: float) -> str:
        if weight == 1.0:
            return ""
        if weight < 1e-3:
            return np.format_float_scientific(weight, trim="-", exp_digits=1) + " "
        return f"{weight:g} "

    terms = zip(weights, vectors, strict=True)
    return " + ".join(f"{factor(weight)}|{vector}|^2" for weight, vector in terms)


class MrpBody(WarpSystem):
    """Twelve states, four actions, and a reward that falls with a quadratic cost.

    The cost is deviation^2 . STATE_COST + action^2 . ACTION_COST, where the deviation of the next
    state is that from TARGET. An episode ends, with reward 0, where the cost exceeds MAX_COST or
    is not finite. No step earns less than 0, so ending an episode never pays.
    """

    TARGET = np.zeros(12)
    STATE_COST: np.ndarray
    ACTION_COST: np.ndarray
    MAX_COST: float

    @abstractmethod
    def earned(self, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reward >= 0 of costs, and its derivative by the cost; both end in 0 far away."""

    def deviation(self, next_state: np.ndarray, parameters: Any) -> np.ndarray:
        """What the cost weighs, (..., 12) in float64."""
        del parameters
        return np.subtract(next_state, self.TARGET, dtype=np.float64)

    def deviation_gradient(
        self, by_deviation: np.ndarray, next_state: np.ndarray, parameters: Any
    ) -> np.ndarray:
        """Derivatives by the next state from those by the deviation, (..., 12)."""
        del next_state, parameters
        return by_deviation

    def _cost_and_alive(
        self, deviation: np.ndarray, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cost and survival in float64, so that float32 results do not depend on the batch."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinite actions of no weight: NaN
            cost = np.add.reduce(np.square(deviation) * self.STATE_COST, axis=-1)
            square = np.square(action, dtype=np.float64)
            cost = cost + np.add.reduce(square * self.ACTION_COST, axis=-1)
        return cost, cost <= self.MAX_COST  # False for NaN

    def reward(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> np.ndarray:
        """The reward of the next state's and the action's cost; 0 where terminated."""
        cost, alive = self._cost_and_alive(self.deviation(next_state, parameters), action)
        value = np.where(alive, self.earned(cost)[0], 0.0)
        return value if next_state.dtype == np.float64 else value.astype(np.float32)

    def reward_gradient(
        self,
        state: np.ndarray,
        action: np.ndarray,
        next_state: np.ndarray,
        parameters: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Slope of the reward times that of the cost; zero where terminated."""
        deviation = self.deviation(next_state, parameters)
        cost, alive = self._cost_and_alive(deviation, action)
        kind = next_state.dtype
        if not alive.all():  # 0 * NaN would be NaN
            rows = alive[..., None]
            cost, deviation = np.where(alive, cost, np.inf), np.where(rows, deviation, 0.0)
            next_state, action = np.where(rows, next_state, 0.0), np.where(rows, action, 0.0)
        slope = self.earned(cost)[1][..., None]
        by_deviation = slope * (2.0 * self.STATE_COST) * deviation
        by_state = self.deviation_gradient(by_deviation, next_state, parameters)
        by_action = slope * (2.0 * self.ACTION_COST) * action
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
        """True where the cost exceeds its bound or anything is not finite."""
        return ~self._cost_and_alive(self.deviation(next_state, parameters), action)[1]

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """States with the MRP on the sheet of `reference`."""
        aligned = np.array(state)
        aligned[..., ATTITUDE] = mrp.align(state[..., ATTITUDE], reference[..., ATTITUDE])
        return aligned

    def tilt(self, state: np.ndarray) -> np.ndarray:
        """Angle between body z and world z, rad; the same on either sheet."""
        cosine = mrp.to_matrix(np.asarray(state[..., ATTITUDE], np.float64))[..., 2, 2]
        return np.arccos(np.clip(cosine, -1.0, 1.0))

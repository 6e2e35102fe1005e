"""The two-legged half-cheetah that is to run forward: its reward.

Body and parameters are in `sims.systems.halfcheetah_robot`, the equations in
`sims.bodies.planar_equations`.
"""

from typing import Any

import numpy as np

from sims.bodies.planar import PlanarSystem, effort
from sims.systems.halfcheetah_robot import PARAMETER_SETS, ROBOT

SPEED = 8  # place of the forward speed in the state
EFFORT = 0.1


class HalfCheetah(PlanarSystem):
    """Seventeen states, six joints of 200 N m; reward for speed. Falling over ends nothing.

    Only a state that is not finite does, and actions within their bounds have led to none.

    Real: joint damping and friction 30 % lower, ground stiffness and damping five times as high as
    nominal (value-gradient paper). In `published` the lower damping has no effect;
    `sims.bodies.planar.PlanarSystem` says what else is published.
    """

    ROBOT = ROBOT
    START_HEIGHT = 0.8
    START_NOISE = 0.1
    START_RATE_NOISE = 0.25

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("halfcheetah")`."""
        super().__init__(
            description="Two-legged planar robot that has to run forward",
            reward_description=(
                f"vx - {EFFORT:g} sum clip(a, -1, 1)^2 at the next state; terminated with reward 0 "
                "only where that is not finite"
            ),
            parameter_sets=PARAMETER_SETS,
        )

    def reward(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """Forward speed and small torques; 0 where the next state is not finite."""
        finite = np.isfinite(next_state).all(axis=-1)
        speed = np.where(finite, next_state[..., SPEED], 0.0).astype(np.float64)
        value = speed - EFFORT * effort(action)[0]
        return np.where(finite, value, 0.0).astype(next_state.dtype)

    def reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """dr/dnext_state and dr/daction; the latter is 0 where an action is clipped."""
        alive = ~self.terminated(state, action, next_state)[..., None]
        by_state = np.zeros(next_state.shape)
        by_state[..., SPEED] = 1.0
        by_action = -EFFORT * effort(np.where(alive, action, 0.0))[1]
        kind = next_state.dtype
        return (by_state * alive).astype(kind), by_action.astype(kind)

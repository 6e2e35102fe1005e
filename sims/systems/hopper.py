"""The one-legged hopper that is to hop forward without falling: reward and ends.

Body and parameters are in `sims.systems.hopper_robot`, the equations in
`sims.bodies.planar_equations`.
"""

from typing import Any

import numpy as np

from sims.bodies.planar import HEIGHT, PITCH, PlanarSystem, effort
from sims.systems.hopper_robot import PARAMETER_SETS, ROBOT

SPEED = 5  # place of the forward speed in the state
LOWEST = 0.8  # m; lower, the episode ends
UPRIGHT = 0.95  # m of height from which on height is rewarded
HIGHEST = 1.25  # m of height up to which it is
DEEPEST = -1.0  # m relative to UPRIGHT below which nothing gets worse
SINKING = 200.0  # cost per square metre below UPRIGHT
ALIVE = 1.0  # reward of every step
LEAN = np.pi / 6.0  # rad of pitch at which its share of the reward is used up
EFFORT = 0.1


class Hopper(PlanarSystem):
    """Eleven states, three joints of 200 N m; reward for running upright.

    Real: joint damping and friction 20 % lower, ground stiffness and damping five times as high as
    nominal (value-gradient paper). `sims.bodies.planar.PlanarSystem` says what the published sets
    do.

    A fall keeps its reward, which height and pitch have made negative before. Standing still earns
    1.3 per step, more than falling without running. A dive that ends a run can earn more than
    standing still, though not more than running on.
    """

    ROBOT = ROBOT
    START_HEIGHT = 1.25
    START_NOISE = 0.05
    START_RATE_NOISE = 0.05

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("hopper")`."""
        super().__init__(
            description="One-legged planar robot that has to hop forward without falling",
            reward_description=(
                f"vx + h + {ALIVE:g} - (pitch / (pi/{np.pi / LEAN:g}))^2 - {EFFORT:g} sum "
                f"clip(a, -1, 1)^2 at the next state, d = clip(z - {UPRIGHT:g}, {DEEPEST:g}, "
                f"{HIGHEST - UPRIGHT:g}), h = d if d > 0 else -{SINKING:g} d^2; terminated where "
                f"z < {LOWEST:g}, with that reward, or with reward 0 where not finite"
            ),
            parameter_sets=PARAMETER_SETS,
        )

    def reward(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """Speed, height, upright pitch and small torques; 0 where the next state is not finite."""
        finite = np.isfinite(next_state).all(axis=-1)
        after = np.where(finite[..., None], next_state, 0.0).astype(np.float64)
        height = np.clip(after[..., HEIGHT] - UPRIGHT, DEEPEST, HIGHEST - UPRIGHT)
        standing = np.where(height > 0.0, height, -SINKING * height**2)
        leaning = ALIVE - (after[..., PITCH] / LEAN) ** 2
        value = after[..., SPEED] + standing + leaning - EFFORT * effort(action)[0]
        return np.where(finite, value, 0.0).astype(next_state.dtype)

    def reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """dr/dnext_state and dr/daction; where height or an action is clipped they are 0."""
        alive = ~self.terminated(state, action, next_state)[..., None]
        after = np.where(alive, next_state, 0.0).astype(np.float64)
        height = after[..., HEIGHT] - UPRIGHT
        inside = (height >= DEEPEST) & (height <= HIGHEST - UPRIGHT)
        by_state = np.zeros(next_state.shape)
        by_state[..., HEIGHT] = np.where(height > 0.0, 1.0, -2.0 * SINKING * height) * inside
        by_state[..., PITCH] = -2.0 * after[..., PITCH] / LEAN**2
        by_state[..., SPEED] = 1.0
        by_action = -EFFORT * effort(np.where(alive, action, 0.0))[1]
        kind = next_state.dtype
        return (by_state * alive).astype(kind), by_action.astype(kind)

    def terminated(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """True where the torso is lower than 0.8 m, or anything is not finite."""
        return ~np.isfinite(next_state).all(axis=-1) | (next_state[..., HEIGHT] < LOWEST)

"""The hopper of the DeepMind Control Suite (Tassa et al., 2018): hop forward at 2 m/s.

Planar, in MuJoCo. The MJCF in `assets/dmc_hopper.xml` has the suite's numbers. State: height,
pitch, four joint angles, all seven velocities, and what the reward needs: the height of the torso
above the foot and the speed of the centre of mass. Pitch is not wrapped. The world is invariant
along x, which is left out.

The suite's two touch sensors at the foot are left out. They report the contact force of a step's
beginning, which is a function of the state and action before, not of the state after: as a state
it would be a hidden memory, and its derivative jumps with every contact. The state without them is
Markov, and no part of the reward needs them.
"""

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.engines.mujoco_factors import MujocoFactors
from sims.engines.mujoco_system import METHODS, MujocoSystem
from sims.scene import Scene
from sims.space import Space

if TYPE_CHECKING:
    from sims.engines.mujoco_state import Layout

ASSET = Path(__file__).parent / "assets" / "dmc_hopper.xml"
JOINTS = ("waist", "hip", "knee", "ankle")
STAND_HEIGHT = (0.6, 2.0)  # m, torso above foot, that counts as standing
HOP_SPEED = 2.0  # m/s at which the reward is full
HEIGHT, SPEED = 13, 14  # places in the state

PARAMETER_SETS = MappingProxyType(
    {"nominal": MujocoFactors(), "real": MujocoFactors(damping=0.7, friction=0.7)}
)


def _state_space() -> Space:
    return Space.unbounded(
        names=(
            *("z", "pitch", *JOINTS, "vx", "vz", "pitch_rate"),
            *(f"{joint}_rate" for joint in JOINTS),
            *("height", "speed"),
        ),
        units=("m",) + ("rad",) * 5 + ("m/s",) * 2 + ("rad/s",) * 5 + ("m", "m/s"),
        # z counts from 1 m, where the torso hangs at the start; it lies on the floor at -0.9 m
        scale=np.array([0.5, 1.5, 0.5, 1.0, 1.0, 0.5, 2, 2, 5, 5, 5, 5, 5, 0.5, 2.0]),
    )


class DmcHopper(MujocoSystem):
    """Four torques; reward for hopping upright, up to 1 per step.

    Real: joint damping and all friction times 0.7, as for the cheetah. Of the published code this
    system was never selectable.
    """

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("dmc_hopper")`."""
        super().__init__(
            name="dmc_hopper",
            description="Hopper of the DeepMind Control Suite that has to hop forward at 2 m/s",
            state=_state_space(),
            action=Space.bounded(JOINTS, ("1",) * 4, -1.0, 1.0),
            dt=0.02,
            horizon=1000,
            attitude=None,
            reward_description=(
                f"clip(speed / {HOP_SPEED:g}, 0, 1) with the centre of mass's speed along x where "
                f"the torso is {STAND_HEIGHT[0]:g} to {STAND_HEIGHT[1]:g} m above the foot, "
                "otherwise 0, at the next state; terminated with reward 0 only where that is not "
                "finite"
            ),
            safe_action=np.zeros(4),
            parameter_sets=PARAMETER_SETS,
            methods=METHODS,
        )

    def _mjcf(self) -> str:
        return ASSET.read_text(encoding="utf-8")

    def _layout(self, model: Any) -> "Layout":
        from sims.engines.mujoco_state import HeightDifference, Layout, SubtreeSpeed

        height = HeightDifference(model, "torso", "foot")
        return Layout(left_out=(0,), derived=(height, SubtreeSpeed(model, "torso")))

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws the pitch from a full turn and joint angles within their limits, at rest.

        The torso starts 1 m high, so that a foot may start below the floor, as in the suite.
        """
        import mujoco

        model = self.mujoco_model(parameters)
        maps, data = self.state_map(model), mujoco.MjData(model)
        low, high = model.jnt_range[2:].T.copy()
        low[0], high[0] = -np.pi, np.pi
        angles = rng.uniform(low, high, (count, 5))
        result = np.empty((len(angles), self.state.size), np.float32)
        for row, drawn in zip(result, angles, strict=True):
            data.qpos[2:] = drawn
            maps.refresh(data)
            row[:] = maps.observe(data)
        return result

    @staticmethod
    def _standing(next_state: np.ndarray) -> np.ndarray:
        """Whether the hopper stands; False where anything is not finite."""
        height = next_state[..., HEIGHT]
        standing = (height >= STAND_HEIGHT[0]) & (height <= STAND_HEIGHT[1])
        return standing & np.isfinite(next_state).all(axis=-1)

    def reward(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """clip(speed / 2, 0, 1) where the hopper stands, otherwise 0."""
        speed = np.where(self._standing(next_state), next_state[..., SPEED], 0.0)
        return np.clip(speed / HOP_SPEED, 0.0, 1.0).astype(next_state.dtype)

    def reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """1/2 by the speed where the hopper stands and moves at 0 to 2 m/s, otherwise zero.

        The reward jumps where standing begins; a jump has no derivative to offer.
        """
        speed = next_state[..., SPEED]
        inside = (speed > 0.0) & (speed < HOP_SPEED) & self._standing(next_state)
        by_state = np.zeros_like(next_state)
        by_state[..., SPEED] = np.where(inside, 1.0 / HOP_SPEED, 0.0)
        return by_state, np.zeros(action.shape, next_state.dtype)

    def scene(self) -> Scene:
        """The hopper from the side; the number is its speed."""
        return self._runner_scene(self._mjcf(), 0.6, lambda s: f"{s[SPEED]:.1f} m/s", 3.0)

"""The cheetah of the DeepMind Control Suite (Tassa et al., 2018): run as fast as 10 m/s.

Planar, in MuJoCo. The MJCF in `assets/dmc_cheetah.xml` has the suite's numbers. State: height,
pitch, six joint angles, all nine velocities, and the speed of the centre of mass, which the reward
needs. Pitch is not wrapped. The world is invariant along x, which is left out.
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

ASSET = Path(__file__).parent / "assets" / "dmc_cheetah.xml"
JOINTS = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
RUN_SPEED = 10.0  # m/s at which the reward is full
SETTLE_STEPS = 200  # MuJoCo steps without action before an episode
SPEED = 17  # place of the speed in the state

PARAMETER_SETS = MappingProxyType(
    {"nominal": MujocoFactors(), "real": MujocoFactors(damping=0.7, friction=0.7)}
)


def _state_space() -> Space:
    return Space.unbounded(
        names=(
            *("z", "pitch", *JOINTS, "vx", "vz", "pitch_rate"),
            *(f"{joint}_rate" for joint in JOINTS),
            "speed",
        ),
        units=("m",) + ("rad",) * 7 + ("m/s",) * 2 + ("rad/s",) * 7 + ("m/s",),
        # joints move within half a radian to a radian; a gallop has 10 rad/s in its legs
        scale=np.concatenate([[0.2, 0.5], np.full(6, 0.5), [5.0, 1.0, 3.0], np.full(6, 10.0), [5]]),
    )


class DmcCheetah(MujocoSystem):
    """Six torques; reward for running, up to 1 per step.

    Real: joint damping and all friction times 0.7, as in the value-gradient paper. The published
    code's physics is the same; its reward gradient, always zero, was a mistake of its own.
    """

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("dmc_cheetah")`."""
        super().__init__(
            name="dmc_cheetah",
            description="Cheetah of the DeepMind Control Suite that has to run at 10 m/s",
            state=_state_space(),
            action=Space.bounded(JOINTS, ("1",) * 6, -1.0, 1.0),
            dt=0.01,
            horizon=1000,
            attitude=None,
            reward_description=(
                f"clip(speed / {RUN_SPEED:g}, 0, 1) with the centre of mass's speed along x at the "
                "next state; terminated with reward 0 only where that is not finite"
            ),
            safe_action=np.zeros(6),
            parameter_sets=PARAMETER_SETS,
            methods=METHODS,
        )

    # It has to keep up with 0.3 ms per Jacobian, and the check would find next to nothing: see
    # `docs/systems.md`.
    FINDS_KINKS = False

    def _mjcf(self) -> str:
        return ASSET.read_text(encoding="utf-8")

    def _layout(self, model: Any) -> "Layout":
        from sims.engines.mujoco_state import Layout, SubtreeSpeed

        return Layout(left_out=(0,), derived=(SubtreeSpeed(model, "torso"),))

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws joint angles within their limits, and lets the cheetah fall and settle for 2 s."""
        import mujoco

        model = self.mujoco_model(parameters)
        maps, data = self.state_map(model), mujoco.MjData(model)
        low, high = model.jnt_range[3:].T
        angles = rng.uniform(low, high, (count, 6))
        result = np.empty((len(angles), self.state.size), np.float32)
        for row, drawn in zip(result, angles, strict=True):
            mujoco.mj_resetData(model, data)
            data.qpos[3:] = drawn
            mujoco.mj_step(model, data, SETTLE_STEPS)
            maps.refresh(data)
            row[:] = maps.observe(data)
        return result

    def reward(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """clip(speed / 10, 0, 1); 0 where the next state is not finite."""
        finite = np.isfinite(next_state).all(axis=-1)
        speed = np.where(finite, next_state[..., SPEED], 0.0)
        return np.clip(speed / RUN_SPEED, 0.0, 1.0).astype(next_state.dtype)

    def reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """1/10 by the speed where that lies between 0 and 10 m/s, otherwise zero."""
        speed = next_state[..., SPEED]
        inside = (speed > 0.0) & (speed < RUN_SPEED) & np.isfinite(next_state).all(axis=-1)
        by_state = np.zeros_like(next_state)
        by_state[..., SPEED] = np.where(inside, 1.0 / RUN_SPEED, 0.0)
        return by_state, np.zeros(action.shape, next_state.dtype)

    def scene(self) -> Scene:
        """The cheetah from the side; the number is its speed."""
        return self._runner_scene(self._mjcf(), 0.6, lambda s: f"{s[SPEED]:.1f} m/s", 3.4)

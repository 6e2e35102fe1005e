"""The four-legged ant that has to run along x: floating base in three dimensions, in MuJoCo.

It is in the value-gradient paper's code, but could not be chosen there. Geometry, density, torque,
joint damping, armature, friction, start height, reward and end are that code's; its penalty contact
is MuJoCo's constraint here, with a time constant of the same order (`AntFactors`).

State: height, MRP of the torso (body to world), eight joint angles, the torso's velocity in world
axes and its rates in body axes, eight joint rates. The world is invariant along x and y, which are
left out. x is forward, z up.
"""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sims.bodies import mrp
from sims.engines.mujoco_factors import MujocoFactors
from sims.engines.mujoco_system import METHODS, MujocoSystem
from sims.parameters import number
from sims.scene import Scene
from sims.space import Space

if TYPE_CHECKING:
    from sims.engines.mujoco_state import Layout

ASSET = Path(__file__).parent / "assets" / "ant.xml"
LEGS = ("front_left", "rear_left", "rear_right", "front_right")
JOINTS = tuple(f"{joint}_{leg}" for leg in LEGS for joint in ("hip", "ankle"))
HEIGHT, ATTITUDE, SPEED = 0, slice(1, 4), 12  # places in the state
LOWEST = 0.27  # m, of the torso's centre; its radius is 0.25
UP_WEIGHT = 0.1
START_HEIGHT = 0.75  # m
START_ANKLE = 1.0  # rad


@dataclass(frozen=True)
class AntFactors(MujocoFactors):
    """Factors on the MJCF's numbers.

    Attributes:
        contact_stiffness: Of the floor. Contacts stay critically damped, so that their time
            constant (0.045 s at 1) goes with its inverse root, and damping with its root. At 1
            a standing ant sinks in as far as on 4 springs of 4e4 N/m, at 5 as on 2e5 N/m, the
            numbers of the paper's simulator. Beyond 29 MuJoCo keeps the time constant at two
            timesteps.
    """

    contact_stiffness: float = number(1.0, sign="positive")


# The paper's changes to its other runners: damping and friction as for the hopper and the cheetah,
# five times the contact stiffness; a tenth more mass because the ant has no springs to change.
PARAMETER_SETS = MappingProxyType(
    {
        "nominal": AntFactors(),
        "real": AntFactors(mass=1.1, damping=0.7, friction=0.8, contact_stiffness=5.0),
    }
)


def _state_space() -> Space:
    middle = np.tile([0.0, np.deg2rad(50.0)], 4)
    reach = np.tile(np.deg2rad([30.0, 20.0]), 4)
    return Space.unbounded(
        names=(
            *("z", "p1", "p2", "p3", *JOINTS, "vx", "vy", "vz", "wx", "wy", "wz"),
            *(f"{joint}_rate" for joint in JOINTS),
        ),
        units=("m", *("1",) * 3, *("rad",) * 8, *("m/s",) * 3, *("rad/s",) * 11),
        center=np.concatenate([[0.5, 0.0, 0.0, 0.0], middle, np.zeros(14)]),
        # joints reach their limits; a run has a few m/s, and 10 rad/s in its legs
        scale=np.concatenate([[0.25], np.full(3, 0.5), reach, np.full(6, 3.0), np.full(8, 10.0)]),
    )


class Ant(MujocoSystem):
    """Eight torques; reward for running along x, upright and facing forward.

    To the code's reward, vx + heading + 0.1 up + (z - 0.27), a constant 1.1 is added: then standing
    still anywhere earns at least 0 per step, so that to fall (reward 0, no more after it) never
    pays. Without it, an ant that faces backward would better fall at once.
    """

    def __init__(self) -> None:
        """Assembles the one instance; use `sims.registry.get("ant")`."""
        super().__init__(
            name="ant",
            description="Four-legged ant that has to run along x",
            state=_state_space(),
            action=Space.bounded(JOINTS, ("200 N m",) * 8, -1.0, 1.0),
            dt=1.0 / 60.0,
            horizon=1000,
            attitude="mrp (0 = level, facing x), body FLU to world; rates in body axes",
            reward_description=(
                f"vx + (1 + R11) + {UP_WEIGHT:g} (1 + R33) + (z - {LOWEST:g}) at the next state, "
                f"R = body to world; terminated with reward 0 where z < {LOWEST:g} or not finite"
            ),
            safe_action=np.zeros(8),
            parameter_sets=PARAMETER_SETS,
            methods=METHODS,
        )

    def _mjcf(self) -> str:
        return ASSET.read_text(encoding="utf-8")

    def _layout(self, model: Any) -> "Layout":
        from sims.engines.mujoco_state import Layout

        return Layout(left_out=(0, 1))

    def mujoco_model(self, parameters: Any = "nominal") -> Any:
        """A `mujoco.MjModel` of one's own that obeys a parameter set (name or object)."""
        model = super().mujoco_model(parameters)
        model.geom_solref[:, 0] /= np.sqrt(self.resolve(parameters).contact_stiffness)
        return model

    def _starts(self, rng: np.random.Generator, parameters: Any, count: int) -> np.ndarray:
        """Draws starts near a stand at 0.75 m, from where the ant drops on its feet.

        Height ±0.05 m, roll, pitch and yaw ±0.1 rad, joints ±0.1 rad about (0, 1), velocities and
        rates ±0.25, each uniform.
        """
        spread = np.array([0.05] + 3 * [0.1] + 8 * [0.1] + 14 * [0.25])
        state = rng.uniform(-spread, spread, (count, 26))
        state[:, HEIGHT] += START_HEIGHT
        state[:, ATTITUDE] = mrp.from_quaternion(mrp.quaternion_from_euler(state[:, ATTITUDE]))
        state[:, 5:12:2] += START_ANKLE
        return state

    def terminated(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """True where the torso's centre is below 0.27 m, or anything is not finite."""
        return ~(np.isfinite(next_state).all(axis=-1) & (next_state[..., HEIGHT] >= LOWEST))

    def reward(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> np.ndarray:
        """The sum vx + (1 + R11) + 0.1 (1 + R33) + (z - 0.27); 0 where terminated."""
        ended = self.terminated(state, action, next_state)
        after = np.where(ended[..., None], 0.0, next_state.astype(np.float64))
        square = np.square(after[..., ATTITUDE])
        lean = 8.0 / np.square(1.0 + square.sum(axis=-1))
        heading = 1.0 - lean * (square[..., 1] + square[..., 2])
        up = 1.0 - lean * (square[..., 0] + square[..., 1])
        value = after[..., SPEED] + (1.0 + heading) + UP_WEIGHT * (1.0 + up)
        value = np.where(ended, 0.0, value + after[..., HEIGHT] - LOWEST)
        return value.astype(next_state.dtype)

    def reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray, parameters: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """1 by vx and z; by the MRP p that of -8 c.p^2 / (1 + |p|^2)^2, with c = (0.1, 1.1, 1)."""
        ended = self.terminated(state, action, next_state)[..., None]
        p = np.where(ended, 0.0, next_state[..., ATTITUDE].astype(np.float64))
        c = np.array([UP_WEIGHT, UP_WEIGHT + 1.0, 1.0])
        whole = 1.0 + np.sum(p * p, axis=-1, keepdims=True)
        weighted = np.sum(c * p * p, axis=-1, keepdims=True)
        by_state = np.zeros(next_state.shape)
        by_state[..., ATTITUDE] = -16.0 * p * (c * whole - 2.0 * weighted) / whole**3
        by_state[..., [HEIGHT, SPEED]] = 1.0
        by_state = np.where(ended, 0.0, by_state).astype(next_state.dtype)
        return by_state, np.zeros(action.shape, next_state.dtype)

    def align(self, state: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """States with the MRP on the sheet of `reference`."""
        aligned = np.array(state)
        aligned[..., ATTITUDE] = mrp.align(state[..., ATTITUDE], reference[..., ATTITUDE])
        return aligned

    def scene(self) -> Scene:
        """The ant from the side, its path over the floor; the number is its speed."""
        maps = self.state_map(self._compiled)

        def pose(states: np.ndarray) -> np.ndarray:
            return maps.poses(states, self.dt)

        def focus(states: np.ndarray) -> np.ndarray:
            return pose(states)[:, :3] * np.array([1.0, 1.0, 0.0]) + np.array([0.0, 0.0, 0.4])

        def caption(state: np.ndarray) -> str:
            return f"{state[SPEED]:.1f} m/s"

        return Scene(
            self._mjcf(),
            pose,
            focus,
            caption,
            azimuth=110.0,
            elevation=-20.0,
            distance=4.5,
            follow=True,
        )

"""Systems whose dynamics are a MuJoCo model, differentiated by centred differences."""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sims.engines.mujoco_factors import compile_mjcf, scaled
from sims.scene import Scene
from sims.system import System

if TYPE_CHECKING:
    from sims.engines.mujoco_model import MujocoModel
    from sims.engines.mujoco_simulation import MujocoSimulation
    from sims.engines.mujoco_state import Layout, StateMap

METHODS = ("finite_difference",)


class MujocoSystem(System):
    """A system that supplies an MJCF and a layout; `sims.systems.dmc_cheetah` is the example.

    Its parameters are `sims.engines.mujoco_factors.MujocoFactors`; its fields include
    `methods=METHODS`. Its worlds keep MuJoCo's whole state, its models start from the observed
    state alone.
    """

    FINDS_KINKS: ClassVar[bool] = True  # whether Jacobians have to predict; costs three steps

    @abstractmethod
    def _mjcf(self) -> str | Path:
        """MJCF text, or the path of an MJCF file. `dt` must be a multiple of its timestep."""

    @abstractmethod
    def _layout(self, model: Any) -> "Layout":
        """How states are laid out over a compiled model (`mujoco.MjModel`).

        Import `sims.engines.mujoco_state` here: naming a system must not load MuJoCo.
        """

    @cached_property
    def _compiled(self) -> Any:
        return compile_mjcf(self._mjcf())

    def mujoco_model(self, parameters: Any = "nominal") -> Any:
        """A `mujoco.MjModel` of one's own that obeys a parameter set (name or object)."""
        return scaled(self._compiled, self.resolve(parameters))

    def state_map(self, model: Any) -> "StateMap":
        """The maps between states and the coordinates of such a model."""
        from sims.engines.mujoco_state import StateMap

        return StateMap(model, self._layout(model))

    def simulation(self, parameters: Any = "real", rows: int = 1) -> "MujocoSimulation":
        """Rows that keep MuJoCo's whole state; see `System.simulation`."""
        from sims.engines.mujoco_simulation import MujocoSimulation

        return MujocoSimulation(self, parameters, rows)

    def _finite_difference_model(
        self, parameters: Any, device: str, norm_bound: float
    ) -> "MujocoModel":
        from sims.engines.mujoco_model import REACH, MujocoModel

        del device  # MuJoCo runs on the CPU
        model = self.mujoco_model(parameters)
        return MujocoModel(
            self,
            model,
            self.state_map(model),
            self.resolve(parameters),
            norm_bound=norm_bound,
            reach=REACH if self.FINDS_KINKS else 0.0,
        )

    def _runner_scene(
        self, xml: str, height: float, caption: Callable[[np.ndarray], str], distance: float = 4.0
    ) -> Scene:
        """A picture from the side, with a camera that follows the position along x.

        Args:
            xml: MJCF with the same joints; the first is the slide along x.
            height: Of the camera's target, m.
            caption: As in `Scene`.
            distance: Of the camera, m.
        """
        maps = self.state_map(compile_mjcf(xml))

        def pose(states: np.ndarray) -> np.ndarray:
            return maps.poses(states, self.dt)

        def focus(states: np.ndarray) -> np.ndarray:
            along = pose(states)[:, 0]
            return np.stack([along, 0.0 * along, np.full_like(along, height)], axis=1)

        return Scene(xml, pose, focus, caption, elevation=-12.0, distance=distance, follow=True)

"""Where the bodies of a system are in a given state, for viewers: positions and orientations.

Taken from the system's picture (`sims.scene.Scene`): what can be drawn can be shown.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["Kinematics"]


class Kinematics:
    """Poses of a system's bodies.

    Args:
        system: The system.

    Attributes:
        bodies: Names of the bodies, the vehicle's (or the first moving one) first.

    Raises:
        UserError: There is no picture of the system.
    """

    def __init__(self, system: "System") -> None:
        import mujoco

        self._scene = system.scene()
        self._mujoco = mujoco
        self._model = mujoco.MjModel.from_xml_string(self._scene.xml)
        self._data = mujoco.MjData(self._model)
        moving = [b for b in range(1, self._model.nbody) if self._model.body_weldid[b] != 0]
        self._bodies = moving
        self.bodies = tuple(self._model.body(b).name or f"body_{b}" for b in moving)

    def poses(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Poses of all `bodies` in the world frame (z up).

        Args:
            state: (n,) physical units.

        Returns:
            (B, 3) positions in m and (B, 4) quaternions, w first.
        """
        self._data.qpos[:] = self._scene.pose(np.asarray(state, np.float64)[None])[0]
        self._mujoco.mj_kinematics(self._model, self._data)
        return self._data.xpos[self._bodies].copy(), self._data.xquat[self._bodies].copy()

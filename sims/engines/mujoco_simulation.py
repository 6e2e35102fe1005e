"""Worlds in MuJoCo: rows that keep all of MuJoCo's state from step to step."""

from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from sims.engines.mujoco_model import sane, substeps

if TYPE_CHECKING:
    from sims.engines.mujoco_system import MujocoSystem

_ROW = mujoco.mjtState.mjSTATE_FULLPHYSICS | mujoco.mjtState.mjSTATE_WARMSTART


class MujocoSimulation:
    """Rows of one MuJoCo system; see `sims.simulation.Simulation`.

    What the observer does not see is kept: coordinates that are left out, velocities that are
    clipped, float64, and the solver's warm start. Rows run one after the other on one `MjData`, so
    that thousands of them need no more memory than their states.
    """

    def __init__(self, system: "MujocoSystem", parameters: Any, rows: int) -> None:
        """Makes `rows` rows.

        Args:
            system: The system.
            parameters: Parameter set of all rows, by name or as object.
            rows: Number of rows.
        """
        self._system = system
        model = system.mujoco_model(parameters)
        self._models = [model] * rows
        self._map = system.state_map(model)
        self._substeps = substeps(system.dt, model.opt.timestep)
        self._data = mujoco.MjData(model)
        self._rows = np.empty((rows, mujoco.mj_stateSize(model, _ROW)))
        for row in self._rows:
            mujoco.mj_getState(model, self._data, row, _ROW)

    def begin(
        self,
        row: int,
        state: np.ndarray,
        parameters: Any = None,
        action: np.ndarray | None = None,
    ) -> None:
        """Puts one row at a state, without warm start; see `Simulation.begin`."""
        del action  # nothing is hidden that depends on it
        if parameters is not None:
            self._models[row] = self._system.mujoco_model(parameters)
        model, data = self._models[row], self._data
        qpos, qvel = self._map.lift(np.asarray(state, np.float64))
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_getState(model, data, self._rows[row], _ROW)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advances all rows one control period; a row that blew up stays NaN until it begins."""
        action = np.asarray(action, np.float64)
        data, result = self._data, np.full((len(self._rows), self._map.size), np.nan)
        for i, (model, row) in enumerate(zip(self._models, self._rows, strict=True)):
            if not sane(row, action[i]):
                continue
            mujoco.mj_setState(model, data, row, _ROW)
            data.ctrl[:] = action[i]
            before = data.qpos.copy()
            mujoco.mj_step(model, data, self._substeps)
            mujoco.mj_getState(model, data, row, _ROW)
            self._map.refresh(data)
            result[i] = self._map.observe(data, before)
        with np.errstate(over="ignore"):
            return result.astype(np.float32)

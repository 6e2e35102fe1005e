"""Steps and centred differences of any system whose dynamics are a MuJoCo model."""

from typing import Any

import mujoco
import numpy as np

from sims.engines.finite_difference import linearization
from sims.engines.mujoco_state import StateMap
from sims.errors import UserError
from sims.model import NORM_BOUND, Linearization
from sims.system import System

# Differences in MuJoCo's coordinates. Halving it changes no Jacobian away from contacts, and the
# solver's tolerance is not yet seen.
STEP = 1e-6
REACH = 10.0 * STEP
# What is larger than this was never meant; MuJoCo would complain on the terminal.
HUGE = 1e9
_FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS | mujoco.mjtState.mjSTATE_WARMSTART


def substeps(dt: float, timestep: float) -> int:
    """MuJoCo steps per control period.

    Raises:
        UserError: The period is no whole number of steps.
    """
    count = round(dt / timestep)
    if count < 1 or abs(count * timestep - dt) > 1e-9:
        raise UserError(
            f"the control period {dt} s is no whole multiple of the MJCF's timestep {timestep} s"
        )
    return count


def sane(*arrays: np.ndarray) -> bool:
    """Whether MuJoCo can do anything with these numbers."""
    return all(np.abs(a).max(initial=0.0) < HUGE for a in arrays)  # False for NaN


class MujocoModel:
    """One control step of a MuJoCo model, and its Jacobians by centred differences in float64.

    A step starts from nothing but the state: the solver's warm start is reset. Derivatives are
    those of the full MuJoCo state, between the derivatives of the maps from and to the state
    vector. With the Euler and implicit integrators MuJoCo's own difference routine runs at every
    substep and the results are chained; it reuses what a perturbation does not change. It refuses
    RK4, whose whole control step is differenced instead.

    A contact that opens or closes within the difference makes it meaningless. Such rows are as
    rare as the difference is small; `sims.engines.validity` finds them by steps ten times as far.
    Further away even true derivatives of stiff contacts mean little: at 1e-3 of typical sizes a
    large part of the ant's and of dmc_hopper's random transitions would fail, by curvature.
    """

    def __init__(
        self,
        system: System,
        model: Any,
        state_map: StateMap,
        parameters: Any,
        *,
        chained: bool | None = None,
        norm_bound: float = NORM_BOUND,
        reach: float = REACH,
    ) -> None:
        """Makes the model.

        Args:
            system: The system that is modelled.
            model: `mujoco.MjModel`, with the parameters applied.
            state_map: Its maps to and from states.
            parameters: What `parameters` is to report.
            chained: Whether Jacobians are chained over substeps; None where the integrator lets.
            norm_bound: Norm of [A | B], in typical sizes, above which a row is invalid.
            reach: How far a Jacobian has to predict, in typical sizes; 0: that is not looked at.

        Raises:
            UserError: The control period, the spaces or the way to differentiate do not fit the
                MJCF, or there is no positive bound.
        """
        if not norm_bound > 0.0:
            raise UserError(f"norm_bound is {norm_bound}; it must be positive")
        if (state_map.size, model.nu) != (system.state.size, system.action.size):
            raise UserError(
                f"the MJCF of {system.name} gives {state_map.size} state coordinates and "
                f"{model.nu} actions, not {system.state.size} and {system.action.size}"
            )
        self._system, self._model, self._map = system, model, state_map
        self._parameters, self._norm_bound, self._reach = parameters, norm_bound, reach
        self._substeps = substeps(system.dt, model.opt.timestep)
        rk4 = model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
        if rk4 and chained:
            raise UserError("MuJoCo has no differences of single steps of RK4 to chain")
        self._chained = not rk4 if chained is None else chained
        self._data = data = mujoco.MjData(model)
        self._qpos, self._qvel, self._control = data.qpos, data.qvel, data.ctrl
        self._warmstart = data.qacc_warmstart
        size = 2 * model.nv
        self._a, self._b = np.zeros((size, size)), np.zeros((size, model.nu))
        limited = model.actuator_ctrllimited.astype(bool)
        low, high = model.actuator_ctrlrange.T
        self._low = np.where(limited, low, -np.inf)
        self._high = np.where(limited, high, np.inf)

    @property
    def system(self) -> System:
        """The system that is modelled."""
        return self._system

    @property
    def parameters(self) -> Any:
        """The parameter object."""
        return self._parameters

    def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The state after one control period, float32 (..., n), from (..., n) and (..., m)."""
        with np.errstate(over="ignore"):
            return self.step_float64(state, action).astype(np.float32)

    def step_float64(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The same step in float64. Rows that are not finite, or blow up, become NaN."""
        s, a = self._rows(state), self._rows(action)
        after = np.full(s.shape, np.nan)
        for i in range(len(s)):
            if sane(s[i], a[i]):
                before = self._place(s[i], a[i])
                mujoco.mj_step(self._model, self._data, self._substeps)
                self._map.refresh(self._data)
                after[i] = self._map.observe(self._data, before)
        return after.reshape(state.shape)

    def linearize(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> Linearization:
        """Derivatives at measured transitions; see `sims.model.Linearization`."""
        s, a, measured = self._rows(state), self._rows(action), self._rows(next_state)
        jacobian = np.full((len(s), s.shape[1], s.shape[1] + a.shape[1]), np.nan)
        for i in range(len(s)):
            if sane(s[i], a[i], measured[i]):
                jacobian[i] = self._jacobian(s[i], a[i], measured[i])
        return linearization(
            self._system, self._parameters, jacobian, s, a, measured, state.shape[:-1],
            self._norm_bound, self.step_float64, self._reach,
        )  # fmt: skip

    @staticmethod
    def _rows(array: np.ndarray) -> np.ndarray:
        return np.asarray(array, np.float64).reshape(-1, array.shape[-1])

    def _place(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Puts the data at a state, as if nothing had been simulated before."""
        qpos, self._qvel[:] = self._map.lift(state)
        self._qpos[:] = qpos
        self._control[:] = action
        self._warmstart[:] = 0.0
        self._data.time = 0.0
        return qpos

    def _jacobian(self, s: np.ndarray, a: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """[A | B] of one row in float64, (n, n + m)."""
        n = s.shape[0]
        self._place(s, a)
        by_state, by_action = self._chain() if self._chained else self._whole_step(a)
        self._map.refresh(self._data)
        outer = self._map.observe_derivative(self._data, measured)
        jacobian = np.empty((n, n + a.shape[0]))
        jacobian[:, :n] = outer @ by_state @ self._map.lift_derivative(s)
        jacobian[:, n:] = outer @ by_action
        return jacobian

    def _chain(self) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of the control step, substep by substep; the data ends after it."""
        a, b = self._a, self._b
        by_state, by_action = np.empty(0), np.empty(0)
        for k in range(self._substeps):
            mujoco.mjd_transitionFD(self._model, self._data, STEP, True, a, b, None, None)
            by_state = a @ by_state if k else a.copy()
            by_action = a @ by_action + b if k else b.copy()
            mujoco.mj_step(self._model, self._data)
        return by_state, by_action

    def _whole_step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same by differences over the whole control step; the data ends after it."""
        model, data, nv = self._model, self._data, self._model.nv
        start = np.empty(mujoco.mj_stateSize(model, _FULL))
        mujoco.mj_getState(model, data, start, _FULL)
        by_state, by_action = np.zeros((2 * nv, 2 * nv)), np.zeros((2 * nv, model.nu))
        ends = np.empty((2, model.nq + nv))
        direction, moved = np.zeros(nv), np.zeros(nv)

        def run(end: int) -> None:
            mujoco.mj_step(model, data, self._substeps)
            ends[end, : model.nq], ends[end, model.nq :] = data.qpos, data.qvel

        def slope(width: float) -> np.ndarray:
            mujoco.mj_differentiatePos(
                model, moved, width, ends[1, : model.nq], ends[0, : model.nq]
            )
            return np.concatenate([moved, (ends[0, model.nq :] - ends[1, model.nq :]) / width])

        for j in [*self._map.moving_dofs, *range(nv, 2 * nv)]:
            for end, sign in enumerate((1.0, -1.0)):
                mujoco.mj_setState(model, data, start, _FULL)
                if j < nv:
                    direction[j] = 1.0
                    mujoco.mj_integratePos(model, data.qpos, direction, sign * STEP)
                    direction[j] = 0.0
                else:
                    data.qvel[j - nv] += sign * STEP
                run(end)
            by_state[:, j] = slope(2.0 * STEP)
        for j in range(model.nu):
            # one-sided at a control's limit, as MuJoCo's own routine is; flat beyond it
            high, low = min(action[j] + STEP, self._high[j]), max(action[j] - STEP, self._low[j])
            if high > low:
                for end, control in enumerate((high, low)):
                    mujoco.mj_setState(model, data, start, _FULL)
                    data.ctrl[j] = control
                    run(end)
                data.ctrl[j] = action[j]
                by_action[:, j] = slope(high - low)
        mujoco.mj_setState(model, data, start, _FULL)
        mujoco.mj_step(model, data, self._substeps)
        return by_state, by_action

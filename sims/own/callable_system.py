"""A system of your own whose dynamics are a Python function; docs/add-a-system.md shows how.

Its Jacobians are centred differences in float64. The function may call anything: your own solver, a
compiled library, a lookup table, a trained network.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sims.engines.finite_difference import FiniteDifferenceModel
from sims.errors import UserError
from sims.own.checks import called, numbers, source_hash
from sims.own.task import OwnSystem, Task, action_space, parameter_sets, state_space

Step = Callable[[np.ndarray, np.ndarray, Any], Any]


class CallableSystem(OwnSystem):
    """A system from a function (state, action, parameters) -> next state."""

    def __init__(
        self,
        name: str,
        step: Step,
        reward: Callable[..., Any],
        *,
        state: Mapping[str, str | tuple[str, float]],
        action: Mapping[str, tuple[str, float, float]],
        dt: float,
        start: Any,
        parameters: Mapping[str, Any] | None = None,
        batched: bool = True,
        **task: Any,
    ) -> None:
        """Makes the system and tries it.

        Args:
            name: Name of the system.
            step: Function of float64 states (N, n), actions (N, m) and one parameter set, that
                gives the states (N, n) one control period later. It must not change its arguments,
                and give the same for the same arguments.
            reward: See `sims.own.task.Task`, as for `start` and the remaining arguments.
            state: Name -> unit, or (unit, typical size).
            action: Name -> (unit, low, high).
            dt: Control period, s.
            start: Start states.
            parameters: Sets by name: "nominal" (what you believe) and "real" (what the world does),
                each a mapping from names to numbers, or a frozen dataclass.
            batched: False where `step` takes one state (n,) and one action (m,).
            **task: terminated, wrap, safe_action, horizon and description of `Task`.

        Raises:
            UserError: Something is wrong with an argument or with what a function gives.
        """
        if not callable(step):
            raise UserError(f"step is {step!r}; it must be a function")
        made = Task.of(name, reward, start, task)
        spaces = state_space(state), action_space(action)
        super().__init__(made, *spaces, dt, parameter_sets(parameters), source_hash(step))
        object.__setattr__(self, "_step", step)
        object.__setattr__(self, "_batched", batched)
        self.check()

    _step: Step
    _batched: bool

    def advance(self, state: np.ndarray, action: np.ndarray, parameters: Any) -> np.ndarray:
        """States (N, n) one control period after float64 states (N, n) and actions (N, m)."""
        n = self.state.size
        with np.errstate(all="ignore"):
            if self._batched:
                given = called(self._step, "step", state, action, parameters)
                after = numbers(given, state.shape, "step")
            else:
                rows = [
                    numbers(called(self._step, "step", s, a, parameters), (n,), "step")
                    for s, a in zip(state, action, strict=True)
                ]
                after = np.stack(rows)
            return self.wrapped(after)

    def simulation(self, parameters: Any = "real", rows: int = 1) -> "_Rows":
        """Rows of this system; see `System.simulation`."""
        return _Rows(self, self.resolve(parameters), rows)

    def _finite_difference_model(
        self, parameters: Any, device: str, norm_bound: float
    ) -> FiniteDifferenceModel:
        def step(state: np.ndarray, action: np.ndarray) -> np.ndarray:
            """Differences may try states that do not occur: what fails there is not a number."""
            try:
                return self.advance(state, action, parameters)
            except UserError:
                if len(state) == 1:
                    return np.full(state.shape, np.nan)
                rows = [step(state[i : i + 1], action[i : i + 1]) for i in range(len(state))]
                return np.concatenate(rows)

        return FiniteDifferenceModel(self, step, parameters, norm_bound=norm_bound)

    def _probe(self, state: np.ndarray, action: np.ndarray, parameters: Any) -> np.ndarray:
        for array in (state, action):
            array.flags.writeable = False  # a step that changes its arguments fails here
        after = self.advance(state, action, parameters)
        again = self.advance(state, action, parameters)
        if not np.array_equal(after, again, equal_nan=True):
            raise UserError(
                "step gives another result when it is called again; it must not be random"
            )
        for i in range(len(state)):
            row = self.advance(state[i : i + 1], action[i : i + 1], parameters)[0]
            if not np.allclose(row, after[i], rtol=1e-9, atol=1e-9, equal_nan=True):
                raise UserError(
                    f"step gives {after[i].tolist()} in a batch but {row.tolist()} for the same "
                    "row alone; index coordinates as state[:, 0], or say batched=False"
                )
        return after


class _Rows:
    """The simulation: one call for all rows while they share their parameters."""

    def __init__(self, system: CallableSystem, parameters: Any, rows: int) -> None:
        self._system = system
        self._parameters = [parameters] * rows
        self._state = np.zeros((rows, system.state.size), np.float32)

    def begin(
        self,
        row: int,
        state: np.ndarray,
        parameters: Any = None,
        action: np.ndarray | None = None,
    ) -> None:
        """Puts one row at a state; see `sims.simulation.Simulation.begin`."""
        del action  # nothing is hidden
        self._state[row] = state
        if parameters is not None:
            self._parameters[row] = self._system.resolve(parameters)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advances all rows; see `sims.simulation.Simulation.step`."""
        state, action = self._state.astype(np.float64), np.asarray(action, np.float64)
        first = self._parameters[0]
        if all(each is first for each in self._parameters):
            after = self._system.advance(state, action, first)
        else:
            after = np.concatenate(
                [
                    self._system.advance(state[i : i + 1], action[i : i + 1], each)
                    for i, each in enumerate(self._parameters)
                ]
            )
        self._state = after.astype(np.float32)
        return self._state.copy()

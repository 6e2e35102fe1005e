"""What a world steps: rows of a system, each with whatever state the observer does not see."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from sims.system import System


class Simulation(Protocol):
    """Rows of one system that advance together. Not safe to share between threads."""

    def begin(
        self,
        row: int,
        state: np.ndarray,
        parameters: Any = None,
        action: np.ndarray | None = None,
    ) -> None:
        """Puts one row at a state.

        Args:
            row: Which row.
            state: (n,) observed state.
            parameters: New parameters of this row (name or object); None keeps what it has.
            action: (m,) action applied in the period before, where an episode is taken up in its
                middle: hidden states (motor speeds) begin as if it had been applied for long.
                None: they begin as the system says, such as hovering.
        """

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advances all rows one control period: (rows, m) actions to (rows, n) float32 states."""


class ModelSimulation:
    """The simulation of a system without hidden state: a model that is fed its own result."""

    def __init__(self, system: "System", parameters: Any, rows: int) -> None:
        """Makes `rows` rows.

        Args:
            system: The system.
            parameters: Parameter set of all rows, by name or as object.
            rows: Number of rows.
        """
        self._system = system
        self._parameters = [system.resolve(parameters)] * rows
        # one entry serves all rows until a row gets parameters of its own
        self._model: Any = system.model(parameters)
        self._individual = False
        self._state = np.zeros((rows, system.state.size), np.float32)

    def begin(
        self,
        row: int,
        state: np.ndarray,
        parameters: Any = None,
        action: np.ndarray | None = None,
    ) -> None:
        """Puts one row at a state; see `Simulation.begin`."""
        del action  # nothing is hidden
        self._state[row] = state
        if parameters is None:
            return
        self._parameters[row] = self._system.resolve(parameters)
        if self._individual:
            self._model.set_parameters(row, self._parameters[row])
        elif len(self._parameters) == 1:
            self._model = self._system.model(self._parameters[0])
        else:
            self._model = self._system.model(self._parameters)
            self._individual = True

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advances all rows by one kernel launch; see `Simulation.step`."""
        self._state = self._model.step(self._state, np.asarray(action, np.float32))
        return self._state.copy()

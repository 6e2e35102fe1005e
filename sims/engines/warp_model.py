"""The engine that steps and linearizes any system whose dynamics are Warp kernels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import warp as wp

from sims import cache
from sims.engines.completion import complete
from sims.engines.launches import Column, Launch, capacity_for
from sims.engines.validity import predicts
from sims.errors import UserError
from sims.model import NORM_BOUND, Linearization
from sims.system import System


@dataclass(frozen=True)
class Kernels:
    """What a system's Warp module supplies; `sims.bodies.mrp_body_kernels` is an example.

    Attributes:
        step: Kernel (records, state, action, next_state) in float32.
        step64: The same in float64.
        linearize: Kernel (records, state, action, next_state, jacobian): [A | B] in the coordinates
            (MRP sheet) of the next state, whatever the numbers are.
        record: Warp struct of parameters in float32. Arrays of records have one entry, or one per
            row.
        record64: The same in float64.
        state_type: Warp vector of which whole numbers make up a state.
        state_type64: The same in float64.
        action_type: Warp vector that is an action.
        action_type64: The same in float64.
        tangent: Warp vector with one derivative per state and action coordinate, in this order.
        pack: Parameter object and dt to the fields of a record, in float64.
        reach: How far a Jacobian has to predict, see `sims.engines.validity`: its REACH, or 0 where
            the equations have no kinks, which saves three steps per transition.
    """

    step: Any
    step64: Any
    linearize: Any
    record: Any
    record64: Any
    state_type: Any
    state_type64: Any
    action_type: Any
    action_type64: Any
    tangent: Any
    pack: Callable[[Any, float], dict[str, Any]]
    reach: float


class WarpModel:
    """Steps and exact Jacobians from Warp kernels, on the CPU or a CUDA device.

    Every row of a batch is computed by itself: its numbers do not depend on the other rows.
    """

    def __init__(
        self,
        system: System,
        parameters: Sequence[Any],
        kernels: Kernels,
        device: str = "cpu",
        norm_bound: float = NORM_BOUND,
    ) -> None:
        """Loads the kernels (compiles them if they are not in the cache).

        Args:
            system: The system that is modelled.
            parameters: One parameter object, or one per row of every batch.
            kernels: The system's kernels.
            device: "cpu" or "cuda:N".
            norm_bound: Norm of [A | B], in typical sizes, above which a row is invalid.

        Raises:
            UserError: No such device, or no positive bound.
        """
        if not norm_bound > 0.0:
            raise UserError(f"norm_bound is {norm_bound}; it must be positive")
        cache.load(kernels.step.module, device)
        cache.load(complete.module, device)
        self._system = system
        self._parameters = list(parameters)
        self._kernels = kernels
        self._device = wp.get_device(device)
        self._norm_bound = float(norm_bound)
        self._n, self._m = system.state.size, system.action.size
        self._records = self._make_records(kernels.record)
        self._records64: Any = None
        # one launch for single rows, one for batches
        self._steps: dict[bool, Launch] = {}
        self._steps64: dict[bool, Launch] = {}
        self._linearizations: dict[bool, Launch] = {}

    @property
    def system(self) -> System:
        """The system that is modelled."""
        return self._system

    @property
    def parameters(self) -> Any:
        """The parameter object; a tuple of them where every row has its own."""
        return self._parameters[0] if len(self._parameters) == 1 else tuple(self._parameters)

    def set_parameters(self, row: int, parameters: Any) -> None:
        """Replaces the parameters of one row, such as when its episode ends.

        Args:
            row: Index into the parameters that the model was made with.
            parameters: Parameter object.
        """
        self._parameters[row] = self._system.resolve(parameters)
        for records, kind in (
            (self._records, self._kernels.record),
            (self._records64, self._kernels.record64),
        ):
            if records is not None:
                records[row : row + 1].assign(self._pack([self._parameters[row]], kind))

    def step(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The state after one control period, float32 (..., n), from (..., n) and (..., m)."""
        count = self._rows(state, action)
        launch = self._launch(self._steps, count, self._make_step)
        launch.run(count, *self._flat(state, action))
        return launch.outputs[0].rows[:count].copy().reshape(state.shape)

    def step_float64(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """The same step in float64, the oracle for finite differences."""
        self._rows(state, action)
        return self._step64(*self._flat(state, action)).reshape(state.shape)

    def linearize(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> Linearization:
        """Exact derivatives at measured transitions; see `sims.model.Linearization`.

        Rows are invalid, and zero, where an input or a result is not finite, the norm of [A | B]
        exceeds the bound, or the equations have kinks and [A | B] does not predict what is close by
        (`sims.engines.validity`).

        Args:
            state: (..., n)
            action: (..., m)
            next_state: (..., n) measured next states.
        """
        count = self._rows(state, action)
        if next_state.shape != state.shape:
            raise UserError(f"next states {next_state.shape} do not match states {state.shape}")
        s, a, after = self._flat(state, action, next_state)
        launch = self._launch(self._linearizations, count, self._make_linearization)
        launch.run(count, s, a, after, *self._reward_gradient(s, a, after))
        n, m = self._n, self._m
        lead = state.shape[:-1]
        jacobian, gradient, valid = (column.rows[:count] for column in launch.outputs)
        if self._kernels.reach > 0.0:
            matrices = jacobian.reshape(count, n, n + m)
            s, a, after = (np.atleast_2d(rows) for rows in (s, a, after))
            predicted = predicts(
                self._system, self._step64, matrices, s, a, after, self._kernels.reach
            )
            if not predicted.all():
                jacobian[~predicted] = gradient[~predicted] = 0.0
                valid[~predicted] = 0
        jacobian = jacobian.reshape(*lead, n, n + m)
        gradient = gradient.reshape(*lead, n + m)
        return Linearization(
            jacobian[..., :n].copy(),
            jacobian[..., n:].copy(),
            gradient[..., :n].copy(),
            gradient[..., n:].copy(),
            valid.view(np.bool_).reshape(lead).copy(),
        )

    def _step64(self, state: np.ndarray, action: np.ndarray) -> np.ndarray:
        """`step_float64` of rows, of which there may be a multiple of the rows of parameters."""
        count = 1 if state.ndim == 1 else len(state)
        if self._records64 is None:
            self._records64 = self._make_records(self._kernels.record64)
        launch = self._launch(self._steps64, count, self._make_step64)
        launch.run(count, state, action)
        return launch.outputs[0].rows[:count].copy()

    def _reward_gradient(
        self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Partial derivatives of the reward; where every row has its own parameters, of its own."""
        gradient = self._system.reward_gradient
        if len(self._parameters) == 1:
            return gradient(state, action, next_state, self._parameters[0])
        s, a, after = (np.atleast_2d(rows) for rows in (state, action, next_state))
        rows = [
            gradient(s[i : i + 1], a[i : i + 1], after[i : i + 1], parameters)
            for i, parameters in enumerate(self._parameters)
        ]
        by_state, by_action = zip(*rows, strict=True)
        return np.concatenate(by_state), np.concatenate(by_action)

    def _rows(self, state: np.ndarray, action: np.ndarray) -> int:
        """Number of rows of a batch, after checking its shape."""
        if state.shape[-1:] != (self._n,) or action.shape != (*state.shape[:-1], self._m):
            raise UserError(
                f"states {state.shape} and actions {action.shape} do not fit {self._system.name}: "
                f"(..., {self._n}) and (..., {self._m}) are needed"
            )
        count = 1 if state.ndim == 1 else state.size // self._n
        if len(self._parameters) not in (1, count):
            raise UserError(f"{count} rows for a model with {len(self._parameters)} parameter sets")
        return count

    @staticmethod
    def _flat(*arrays: np.ndarray) -> list[np.ndarray]:
        return [a if a.ndim <= 2 else a.reshape(-1, a.shape[-1]) for a in arrays]

    def _pack(self, parameters: Sequence[Any], kind: Any) -> np.ndarray:
        records = np.zeros(len(parameters), kind.numpy_dtype())
        for record, entry in zip(records, parameters, strict=True):
            for field, value in self._kernels.pack(entry, self._system.dt).items():
                record[field] = value
        return records

    def _make_records(self, kind: Any) -> Any:
        return wp.array(self._pack(self._parameters, kind), dtype=kind, device=self._device)

    @staticmethod
    def _launch(launches: dict[bool, Launch], count: int, make: Callable[[int], Launch]) -> Launch:
        single = count == 1
        launch = launches.get(single)
        if launch is None or launch.capacity < count:
            launch = launches[single] = make(capacity_for(count))
        return launch

    def _column(self, capacity: int, width: int, kind: Any, dimensions: int = 1) -> Column:
        return Column(capacity, width, kind, dimensions, self._device)

    def _make_step(self, capacity: int) -> Launch:
        k = self._kernels
        state, action, after = (
            self._column(capacity, self._n, k.state_type, 2),
            self._column(capacity, self._m, k.action_type),
            self._column(capacity, self._n, k.state_type, 2),
        )
        arguments = [self._records, state.array, action.array, after.array]
        return Launch(self._device, capacity, [state, action], [after], (k.step, arguments))

    def _make_step64(self, capacity: int) -> Launch:
        k = self._kernels
        state, action, after = (
            self._column(capacity, self._n, k.state_type64, 2),
            self._column(capacity, self._m, k.action_type64),
            self._column(capacity, self._n, k.state_type64, 2),
        )
        arguments = [self._records64, state.array, action.array, after.array]
        return Launch(self._device, capacity, [state, action], [after], (k.step64, arguments))

    def _make_linearization(self, capacity: int) -> Launch:
        k, n, m = self._kernels, self._n, self._m
        inputs = [
            self._column(capacity, n, k.state_type, 2),
            self._column(capacity, m, k.action_type),
            self._column(capacity, n, k.state_type, 2),
            self._column(capacity, n, wp.float32, 2),
            self._column(capacity, m, wp.float32, 2),
        ]
        jacobian = self._column(capacity, n * (n + m), k.tangent, 2)
        gradient = self._column(capacity, n + m, wp.float32, 2)
        valid = self._column(capacity, 1, wp.uint8, 2)
        first = [self._records, *(column.array for column in inputs[:3]), jacobian.array]
        second = [
            *(column.numbers(column.rows.shape[1]) for column in inputs),
            wp.array(self._system.sizes, dtype=wp.float32, device=self._device),
            self._norm_bound,
            jacobian.numbers(n, n + m),
            gradient.array,
            valid.array,
        ]
        return Launch(
            self._device,
            capacity,
            inputs,
            [jacobian, gradient, valid],
            (k.linearize, first),
            (complete, second),
        )

"""Fits parameters of a model to recorded transitions by least squares on one-step predictions.

The unknowns are changes t of the parameters' numbers, see `deepilc.bags.unknowns`. Residuals are
(predicted - measured next state) / typical change of that coordinate in a step. What the data
cannot tell shows in the singular values of their Jacobian: along such a direction the parameters
stay where they were.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepilc.bags.dataset import Dataset
from deepilc.bags.unknowns import Unknown, bounds_of, parameters_at, unknowns_of, value_at
from deepilc.errors import UserError
from sims.delayed import DelayedSystem
from sims.model import Model
from sims.system import System

__all__ = ["Fit", "fit", "parameter_yaml"]

HELD_OUT = 5
"""Every fifth episode is held out."""
MOST_ROWS = 20_000
"""Rows that are fitted to; of more, evenly spread ones."""
INDEPENDENT = 1e-6
"""Directions whose singular value is below this part of the largest are not determined at all."""
WIDEST = 1.0
"""Nor are those along which the 95 % interval is wider than this to both sides, in t."""
RIDGE = 1e-6
"""Weight of staying at the start, relative to the largest singular value."""
STEP = 1e-4
"""Length of a difference in t."""
BEGIN = 0.05
"""Where the search for a number begins that is 0 at the start."""


@dataclass(frozen=True)
class Fit:
    """The result.

    Attributes:
        unknowns: What was fitted; k of them.
        parameters: The fitted parameter set.
        values: (k,) fitted values.
        interval: (k,) half width of the 95 % interval; NaN where the data does not determine it.
        undetermined: Combinations that the data does not tell, each as (name, relative change)
            pairs: all of them may change together by these shares.
        before: (n,) root mean square of held-out one-step errors with the start values.
        after: (n,) with the fitted ones.
        train_rows: Rows fitted to.
        held_out_rows: Rows of the held-out episodes.
        improvement: Held-out error before over after, as the norm of the scaled errors.
        message: What ended the search.
    """

    unknowns: Sequence[Unknown]
    parameters: Any
    values: np.ndarray
    interval: np.ndarray
    undetermined: Sequence[Sequence[tuple[str, float]]]
    before: np.ndarray
    after: np.ndarray
    train_rows: int
    held_out_rows: int
    improvement: float
    message: str


class _Predictor:
    """One-step errors (N, n) of the model with changing parameters, in float64 where it has it.

    Of a system with a delay the base's model is asked, which knows best how it is to be changed.
    """

    def __init__(self, system: System, base: Any, method: str | None) -> None:
        self._delayed = system if isinstance(system, DelayedSystem) else None
        self._system = system.base if isinstance(system, DelayedSystem) else system
        self._method = method
        self._model: Model = self._system.model(base, method)

    def errors(self, parameters: Any, data: tuple[np.ndarray, ...]) -> np.ndarray:
        """Predicted minus measured next states; data is state, action, next state in float64."""
        if self._delayed is None:
            return self._errors(parameters, *data)
        state, action, after = data
        (s, acting), (s_after, chosen) = self._delayed.split(state), self._delayed.split(after)
        physical = self._errors(parameters, *map(np.ascontiguousarray, (s, acting, s_after)))
        return self._delayed.join(physical, action - chosen)

    def _errors(
        self, parameters: Any, state: np.ndarray, action: np.ndarray, after: np.ndarray
    ) -> np.ndarray:
        if hasattr(self._model, "set_parameters"):
            self._model.set_parameters(0, parameters)
        else:
            self._model = self._system.model(parameters, self._method)
        if hasattr(self._model, "step_float64"):
            predicted = self._model.step_float64(state, action)
        else:
            predicted = self._model.step(state.astype(np.float32), action.astype(np.float32))
        return np.asarray(self._system.align(np.asarray(predicted, np.float64), after) - after)


def fit(
    dataset: Dataset,
    system: System,
    base: str = "nominal",
    names: Sequence[str] | None = None,
    method: str | None = None,
    progress: Callable[[float], None] = lambda cost: None,
) -> Fit:
    """Fits parameters to the rows of a dataset.

    Args:
        dataset: Rows of a real system; every fifth episode is held out.
        system: The system whose model is fitted.
        base: Parameter set (or file) to start from.
        names: See `unknowns_of`.
        method: Jacobian method, which decides the model.
        progress: Called with the cost (half the mean squared residual) of each try.

    Raises:
        UserError: Nothing to fit, fewer than two episodes, or too few rows.
    """
    from scipy.optimize import least_squares

    unknowns = unknowns_of(system, base, names)
    if not unknowns:
        raise UserError(f"{system.name} has no parameter that can be fitted")
    start = system.parameters(base)
    train, held_out = _split(dataset)
    if train[0].size == 0 or len(train[0]) * system.state.size < 10 * len(unknowns):
        raise UserError(
            f"{len(train[0])} rows are too few to fit {len(unknowns)} parameters to; "
            "name fewer by --parameter, or give more bags"
        )
    predictor = _Predictor(system, start, method)
    state, _, after = train
    change = np.abs(system.align(state, after) - after)
    typical = np.sqrt((np.minimum(change, np.quantile(change, 0.95, 0)) ** 2).mean(0))
    typical = np.maximum(typical, 1e-6 * system.state.scale)
    last = predictor.errors(start, train) / typical
    usable = np.isfinite(last).all(1)  # a start that explodes tells nothing
    usable &= np.abs(last).max(1, where=usable[:, None], initial=0.0) < 1e3
    train = tuple(column[usable] for column in train)
    count = last[usable].size

    def residual(t: np.ndarray) -> np.ndarray:
        try:
            errors = predictor.errors(parameters_at(start, unknowns, t), train) / typical
        except UserError:  # not physical: as bad as can be
            return np.full(count, 1e3)
        errors = np.nan_to_num(errors, nan=1e3, posinf=1e3, neginf=-1e3).clip(-1e3, 1e3)
        progress(0.5 * float((errors**2).mean()))
        return errors.ravel()

    def with_ridge(t: np.ndarray) -> np.ndarray:
        return np.concatenate([residual(t), ridge * t])

    bounds = bounds_of(start, unknowns)
    first = _slopes(residual, np.zeros(len(unknowns)), bounds)
    ridge = RIDGE * max(float(np.linalg.norm(first, 2)), 1e-12)
    begin = np.array([BEGIN if u.start == 0.0 else 0.0 for u in unknowns])  # away from its bound
    found = least_squares(
        with_ridge, begin, bounds=bounds,
        loss="soft_l1", f_scale=1.0, x_scale=1.0, diff_step=1e-5, max_nfev=200,
    )  # fmt: skip
    best = parameters_at(start, unknowns, found.x)
    jacobian = _slopes(residual, found.x, bounds)
    interval, undetermined = _intervals(jacobian, residual(found.x), unknowns, found.x)
    errors = [predictor.errors(each, held_out) for each in (start, best)]
    both = np.isfinite(errors[0]).all(1) & np.isfinite(errors[1]).all(1)
    rms = [np.sqrt((error[both] ** 2).mean(0)) for error in errors]
    norms = [np.sqrt(np.median(((error[both] / typical) ** 2).sum(1))) for error in errors]
    return Fit(
        unknowns=unknowns,
        parameters=best,
        values=np.array([value_at(u, t) for u, t in zip(unknowns, found.x, strict=True)]),
        interval=interval,
        undetermined=undetermined,
        before=rms[0],
        after=rms[1],
        train_rows=len(train[0]),
        held_out_rows=int(np.count_nonzero(both)),
        improvement=float(norms[0] / max(norms[1], 1e-12)),
        message=str(found.message),
    )


def _split(dataset: Dataset) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Rows to fit to and rows held out, by episode, in float64."""
    if dataset.episodes < 2:
        raise UserError(
            "the bags hold one episode, and one must be held out; give more bags, or longer ones"
        )
    rows = dataset.rows
    finite = np.isfinite(rows.next_state).all(1)
    held = rows.episode % HELD_OUT == min(HELD_OUT, dataset.episodes) - 1

    def part(mask: np.ndarray) -> tuple[np.ndarray, ...]:
        index = np.flatnonzero(mask & finite)
        if len(index) > MOST_ROWS:
            index = index[np.linspace(0, len(index) - 1, MOST_ROWS).astype(int)]
        columns = (rows.state, rows.action, rows.next_state)
        return tuple(column[index].astype(np.float64) for column in columns)

    return part(~held), part(held)


def _slopes(
    residual: Callable[[np.ndarray], np.ndarray],
    t: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Jacobian (N, k) of the residual by differences, centred but at the bounds."""
    columns = []
    for i in range(len(t)):
        forth, back = t.copy(), t.copy()
        forth[i] = min(t[i] + STEP, bounds[1][i])
        back[i] = max(t[i] - STEP, bounds[0][i])
        columns.append((residual(forth) - residual(back)) / (forth[i] - back[i]))
    return np.stack(columns, 1)


def _intervals(
    jacobian: np.ndarray, residual: np.ndarray, unknowns: Sequence[Unknown], t: np.ndarray
) -> tuple[np.ndarray, list[list[tuple[str, float]]]]:
    """Half widths of 95 % intervals, and the directions that the data does not tell."""
    _, singular, rows = np.linalg.svd(jacobian, full_matrices=False)
    singular = np.maximum(singular, 1e-300)
    variance = float((residual**2).sum()) / max(len(residual) - len(t), 1)
    told = singular > INDEPENDENT * singular[0]
    told &= 1.96 * np.sqrt(variance) / singular < WIDEST
    spread = np.sqrt(variance * ((rows[told] / singular[told, None]) ** 2).sum(0))
    free = rows[~told]
    bound = (free**2).sum(0) < 1e-4  # part of the coordinate that lies in what is not told
    values = np.array([value_at(u, x) for u, x in zip(unknowns, t, strict=True)])
    by_t = np.array([v if u.relative else u.scale for u, v in zip(unknowns, values, strict=True)])
    interval = np.where(bound, 1.96 * spread * np.abs(by_t), np.nan)
    relative = free * np.abs(by_t) / np.maximum(np.abs(values), 1e-12)
    return interval, [_words(direction, unknowns) for direction in _sparse(relative)]


def _sparse(directions: np.ndarray) -> np.ndarray:
    """The same space by directions with as many zeros as row reduction gives."""
    matrix = directions.copy()
    row = 0
    order = np.argsort(-np.abs(directions).sum(0))
    for column in order:
        if row >= len(matrix):
            break
        pivot = row + int(np.argmax(np.abs(matrix[row:, column])))
        if abs(matrix[pivot, column]) < 0.05:
            continue
        matrix[[row, pivot]] = matrix[[pivot, row]]
        matrix[row] /= matrix[row, column]
        others = np.arange(len(matrix)) != row
        matrix[others] -= np.outer(matrix[others, column], matrix[row])
        row += 1
    return matrix / np.maximum(np.abs(matrix).max(1, initial=0.0, keepdims=True), 1e-12)


def _words(direction: np.ndarray, unknowns: Sequence[Unknown]) -> list[tuple[str, float]]:
    """What takes part in a direction, the largest first."""
    order = np.argsort(-np.abs(direction))
    return [(unknowns[i].name, float(direction[i])) for i in order if abs(direction[i]) > 0.05]


def parameter_yaml(result: Fit, base: str, about: str) -> str:
    """The fitted set as a file for `--set nominal=FILE.yaml`.

    Args:
        result: The fit.
        base: Name of the set that it started from.
        about: What it was fitted to, for a comment.
    """
    import yaml

    changed = dict.fromkeys(unknown.field for unknown in result.unknowns)
    values = {name: _lists(getattr(result.parameters, name)) for name in changed}
    free = {name for direction in result.undetermined for name, _ in direction}
    note = ""
    if free:
        note = f"# Not determined one by one, only in combination: {', '.join(sorted(free))}.\n"
    body = yaml.safe_dump({"base": base, **values}, sort_keys=False)
    return f"# Fitted by deepilc identify to {about}.\n{note}{body}"


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value

"""Fits parameters of a model to recorded transitions by least squares on one-step predictions.

Every number of a parameter set gets one unknown t, 0 at the start: a number that must not be
negative is p exp(t) (so that t is a relative change), any other p + |p| t, and a zero 0 + t. A
square matrix such as an inertia J is D J D with D = diag(exp(t / 2)), which keeps it symmetric and
positive. Residuals are (predicted - measured next state) / typical change of that coordinate in a
step. What the data cannot tell shows in the singular values of their Jacobian: along such a
direction the parameters stay where they were.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from deepilc.bags.dataset import Dataset
from deepilc.errors import UserError, suggestion
from sims.model import Model
from sims.system import System

__all__ = ["Fit", "Unknown", "fit", "parameter_yaml", "unknowns_of"]

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
LARGEST = 3.0
"""Bound of |t|: a factor of 20 for positive numbers."""


@dataclass(frozen=True)
class Unknown:
    """One number to fit.

    Attributes:
        name: Such as "mass", "drag_areas[2]" or "inertia[0]" (axis of a matrix).
        field: Field of the parameter set.
        index: Place in a tuple or axis of a matrix; None for a plain number.
        start: Its value at t = 0.
        relative: Whether it is start * exp(t).
    """

    name: str
    field: str
    index: int | None
    start: float
    relative: bool

    @property
    def scale(self) -> float:
        """What t = 1 adds, for numbers that are not relative."""
        return abs(self.start) or 1.0


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


def unknowns_of(system: System, base: str, names: Sequence[str] | None = None) -> list[Unknown]:
    """The numbers of a parameter set that can be fitted.

    Args:
        system: The system.
        base: Name of the set, or a file.
        names: Fields, or single numbers as "drag_areas[2]"; None takes all that are numbers.

    Raises:
        UserError: No such number.
    """
    parameters = system.parameters(base)
    known = [
        unknown
        for field in fields(parameters)
        if field.metadata.get("randomise", True)
        for unknown in _unknowns(parameters, field.name)
    ]
    if names is None:
        return known
    allowed = dict.fromkeys(name for unknown in known for name in (unknown.field, unknown.name))
    for name in names:
        if name not in allowed:
            raise UserError(f"{system.name} has no parameter {name!r}{suggestion(name, allowed)}")
    return [unknown for unknown in known if unknown.field in names or unknown.name in names]


def _unknowns(parameters: Any, field: str) -> list[Unknown]:
    value = getattr(parameters, field)
    if isinstance(value, float):
        relative = value > 0.0 and not _may_be(parameters, field, -value)
        return [Unknown(field, field, None, value, relative)]
    array = _numbers(value)
    if array is None or array.ndim > 2 or (array.ndim == 2 and array.shape[0] != array.shape[1]):
        return []
    if array.ndim == 2:
        return [
            Unknown(f"{field}[{i}]", field, i, float(array[i, i]), True) for i in range(len(array))
        ]
    return [
        Unknown(f"{field}[{i}]", field, i, float(x), bool(x > 0.0)) for i, x in enumerate(array)
    ]


def _numbers(value: Any) -> np.ndarray | None:
    """A tuple (of tuples) of floats as an array; None for anything else."""
    if not isinstance(value, tuple) or not value:
        return None
    try:
        array = np.array(value)
    except ValueError:
        return None
    return array if array.dtype == np.float64 else None


def _may_be(parameters: Any, field: str, value: float) -> bool:
    try:
        replace(parameters, **{field: value})
    except UserError:
        return False
    return True


def _with(parameters: Any, unknowns: Sequence[Unknown], t: np.ndarray) -> Any:
    """The parameter set at t (k,).

    Raises:
        UserError: The set refuses these values.
    """
    changed: dict[str, Any] = {}
    for unknown, step in zip(unknowns, t, strict=True):
        value = unknown.start * np.exp(step) if unknown.relative else None
        if value is None:
            value = unknown.start + unknown.scale * step
        if unknown.index is None:
            changed[unknown.field] = float(value)
            continue
        held = changed.setdefault(unknown.field, np.array(getattr(parameters, unknown.field)))
        if held.ndim == 2:
            root = np.exp(0.5 * step)
            held[unknown.index, :] *= root
            held[:, unknown.index] *= root
        else:
            held[unknown.index] = value
    plain = {
        name: _tuples(value) if isinstance(value, np.ndarray) else value
        for name, value in changed.items()
    }
    return replace(parameters, **plain)


def _tuples(array: np.ndarray) -> tuple[Any, ...]:
    if array.ndim == 2:
        array = 0.5 * (array + array.T)  # exactly symmetric
    return tuple(_tuples(row) if row.ndim else float(row) for row in array)


class _Predictor:
    """One-step errors (N, n) of the model with changing parameters, in float64 where it has it."""

    def __init__(self, system: System, base: Any, method: str | None) -> None:
        self._system = system
        self._method = method
        self._model: Model = system.model(base, method)

    def errors(self, parameters: Any, data: tuple[np.ndarray, ...]) -> np.ndarray:
        """Predicted minus measured next states; data is state, action, next state in float64."""
        state, action, after = data
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
            errors = predictor.errors(_with(start, unknowns, t), train) / typical
        except UserError:  # not physical: as bad as can be
            return np.full(count, 1e3)
        errors = np.nan_to_num(errors, nan=1e3, posinf=1e3, neginf=-1e3).clip(-1e3, 1e3)
        progress(0.5 * float((errors**2).mean()))
        return errors.ravel()

    def with_ridge(t: np.ndarray) -> np.ndarray:
        return np.concatenate([residual(t), ridge * t])

    bounds = _bounds(start, unknowns)
    first = _slopes(residual, np.zeros(len(unknowns)), bounds)
    ridge = RIDGE * max(float(np.linalg.norm(first, 2)), 1e-12)
    begin = np.array([BEGIN if u.start == 0.0 else 0.0 for u in unknowns])  # away from its bound
    found = least_squares(
        with_ridge, begin, bounds=bounds,
        loss="soft_l1", f_scale=1.0, x_scale=1.0, diff_step=1e-5, max_nfev=200,
    )  # fmt: skip
    best = _with(start, unknowns, found.x)
    jacobian = _slopes(residual, found.x, bounds)
    interval, undetermined = _intervals(jacobian, residual(found.x), unknowns, found.x)
    errors = [predictor.errors(each, held_out) for each in (start, best)]
    both = np.isfinite(errors[0]).all(1) & np.isfinite(errors[1]).all(1)
    rms = [np.sqrt((error[both] ** 2).mean(0)) for error in errors]
    norms = [np.sqrt(np.median(((error[both] / typical) ** 2).sum(1))) for error in errors]
    return Fit(
        unknowns=unknowns,
        parameters=best,
        values=np.array([_value(u, t) for u, t in zip(unknowns, found.x, strict=True)]),
        interval=interval,
        undetermined=undetermined,
        before=rms[0],
        after=rms[1],
        train_rows=len(train[0]),
        held_out_rows=int(np.count_nonzero(both)),
        improvement=float(norms[0] / max(norms[1], 1e-12)),
        message=str(found.message),
    )


def _value(unknown: Unknown, t: float) -> float:
    if unknown.relative:
        return float(unknown.start * np.exp(t))
    return unknown.start + unknown.scale * float(t)


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


def _bounds(parameters: Any, unknowns: Sequence[Unknown]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest t (k,); a number that must not be negative is not."""
    low = np.full(len(unknowns), -LARGEST)
    high = np.full(len(unknowns), LARGEST)
    for i, unknown in enumerate(unknowns):
        if unknown.relative:
            continue
        if unknown.index is None and not _may_be(parameters, unknown.field, -1.0 - unknown.scale):
            low[i] = -unknown.start / unknown.scale
        if unknown.start == 0.0:
            high[i] = 1e3
    return low, high


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
    values = np.array([_value(u, x) for u, x in zip(unknowns, t, strict=True)])
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

"""What a dataset covers, how well a model predicts it, and whether it is enough to learn from."""

from dataclasses import dataclass

import numpy as np

from deepilc.bags.dataset import Rows
from sims.model import Model
from sims.system import System

__all__ = ["Coverage", "Prediction", "coverage", "predict", "thin"]

ROWS_PER_COORDINATE = 200
"""Fewer rows per coordinate of state and action are called thin."""
LEAST_SPREAD = 0.02
"""A coordinate whose middle 90 % spans less than this part of its typical range is not explored."""
LEAST_EXCITATION = 0.01
"""Least part of an action's variance that must not follow from the state."""


@dataclass(frozen=True)
class Coverage:
    """How far the rows reach, by coordinate; d = n + m, states first.

    Attributes:
        names: (d) names of states, then actions.
        units: (d) their units.
        low: (d,) 5 % quantile.
        high: (d,) 95 % quantile.
        typical: (d,) typical size of the coordinate, from the system.
        excitation: (m,) part of each action's variance that is no linear function of the state.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    typical: np.ndarray
    excitation: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """(d,) width of the middle 90 %, in units of twice the typical size."""
        return (self.high - self.low) / (2.0 * self.typical)


@dataclass(frozen=True)
class Prediction:
    """One-step predictions of a model on rows, by state coordinate.

    Attributes:
        error: (N, n) predicted minus measured next state.
        median: (n,) of its absolute value, which a few crashes do not move.
        high: (n,) what 95 % of the absolute errors are below.
        change: (n,) median of |next state - state|: the error of predicting no change.
    """

    error: np.ndarray
    median: np.ndarray
    high: np.ndarray
    change: np.ndarray

    @property
    def unexplained(self) -> np.ndarray:
        """(n,) error relative to predicting no change; 0 is perfect."""
        return self.median / np.maximum(self.change, 1e-12)


def coverage(rows: Rows, system: System) -> Coverage:
    """Quantiles, and how freely the actions vary; needs at least one row."""
    values = np.concatenate([rows.state, rows.action], 1).astype(np.float64)
    low, high = np.quantile(values, [0.05, 0.95], axis=0)
    return Coverage(
        names=(*system.state.names, *system.action.names),
        units=(*system.state.units, *system.action.units),
        low=low,
        high=high,
        typical=system.sizes,
        excitation=_excitation(rows),
    )


def _excitation(rows: Rows) -> np.ndarray:
    """(m,) 1 - R^2 of the actions regressed on the states; 0 where an action never changes."""
    action = rows.action.astype(np.float64)
    centred = action - action.mean(0)
    variance = (centred**2).mean(0)
    state = rows.state.astype(np.float64)
    inputs = np.column_stack([state - state.mean(0), np.ones(len(rows))])
    residual = centred - inputs @ np.linalg.lstsq(inputs, centred, rcond=None)[0]
    return np.where(variance > 0.0, (residual**2).mean(0) / np.maximum(variance, 1e-300), 0.0)


def predict(rows: Rows, model: Model, system: System) -> Prediction:
    """One step of the model from every row whose next state is finite."""
    finite = np.isfinite(rows.next_state).all(1)
    state, action = rows.state[finite], rows.action[finite]
    after = rows.next_state[finite].astype(np.float64)
    predicted = np.asarray(model.step(state, action), np.float64)
    error = system.align(predicted, after) - after
    change = system.align(state.astype(np.float64), after) - after
    usable = np.isfinite(error).all(1)
    error, change = error[usable], change[usable]
    if not len(error):
        nothing = np.full(system.state.size, np.nan)
        return Prediction(error, nothing, nothing, nothing)
    return Prediction(
        error=error,
        median=np.median(np.abs(error), 0),
        high=np.quantile(np.abs(error), 0.95, 0),
        change=np.median(np.abs(change), 0),
    )


def thin(rows: Rows, reached: Coverage, system: System) -> list[str]:
    """Why the data may be too thin to learn from, in sentences; empty if it looks enough."""
    found = []
    coordinates = system.state.size + system.action.size
    if len(rows) < ROWS_PER_COORDINATE * coordinates:
        found.append(
            f"{len(rows)} rows for {coordinates} coordinates of state and action; "
            f"{ROWS_PER_COORDINATE * coordinates} or more are advisable"
        )
    still = [
        name
        for name, spread in zip(reached.names, reached.spread, strict=True)
        if spread < LEAST_SPREAD
    ]
    if still:
        found.append(f"hardly any change in {', '.join(still)}: nothing is learned about it")
    bound = [
        name
        for name, free in zip(system.action.names, reached.excitation, strict=True)
        if free < LEAST_EXCITATION
    ]
    if bound:
        found.append(
            f"{', '.join(bound)} follows from the state (no exploration): what another action "
            "would have done is known from the model only"
        )
    return found

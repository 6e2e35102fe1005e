"""What the dashboard shows, wherever it comes from: a run folder, or a bag alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from deepilc.view.why import Fact
    from sims.model import Model
    from sims.system import System

__all__ = ["NEWEST_ROWS", "Episode", "ModelError", "Rows", "Series", "Shown", "last_episode"]

NEWEST_ROWS = 2_000
"""Transitions that the model's error is measured on: those that the policy of now meets."""

Series = dict[str, tuple[np.ndarray, np.ndarray]]
"""Name to x and y."""


@dataclass(frozen=True)
class Rows:
    """The newest training transitions, in their order.

    Attributes:
        episode: (N,) episode of each.
        step: (N,) step within it.
        state: (N, n) physical units.
        action: (N, m) as applied.
        next_state: (N, n)
        valid: (N,) whether its Jacobian is used.
        ends: (N,) whether its episode is complete with it.
    """

    episode: np.ndarray
    step: np.ndarray
    state: np.ndarray
    action: np.ndarray
    next_state: np.ndarray
    valid: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Episode:
    """One training episode.

    Attributes:
        number: Which.
        time: (T,) s since its start.
        state: (T, n)
        action: (T, m)
    """

    number: int
    time: np.ndarray
    state: np.ndarray
    action: np.ndarray


@dataclass(frozen=True)
class ModelError:
    """How well the nominal model predicts what happened, one step ahead.

    All in typical sizes of the coordinate (`System.state.scale`), so that coordinates compare.

    Attributes:
        names: Of the state's coordinates.
        nominal: (n,) root mean square of s' - g(s, a).
        nothing: (n,) root mean square of s' - s: what predicting "no change" would be off by.
        valid: Share of rows whose Jacobian is used.
        rows: Number of transitions.
    """

    names: tuple[str, ...]
    nominal: np.ndarray
    nothing: np.ndarray
    valid: float
    rows: int

    @classmethod
    def of(cls, rows: Rows, system: "System", model: "Model") -> "ModelError":
        """The errors of a model on rows, at least one."""
        predicted = model.step(rows.state, rows.action)
        scale = np.asarray(system.state.scale)

        def size(reference: np.ndarray) -> np.ndarray:
            error = (system.align(rows.next_state, reference) - reference) / scale
            with np.errstate(invalid="ignore", over="ignore"):
                return np.asarray(np.sqrt(np.nanmean(np.square(error), axis=0)))

        valid, names = float(rows.valid.mean()), system.state.names
        return cls(names, size(predicted), size(rows.state), valid, len(rows.valid))

    @property
    def share(self) -> np.ndarray:
        """(n,) error of the model relative to that of predicting no change; 0 is perfect."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.nominal / self.nothing


class Shown(Protocol):
    """Something that the page can show; everything is read anew when `stamp` has changed."""

    path: Path

    @property
    def system(self) -> "System":
        """Its system."""

    @property
    def title(self) -> str:
        """What it is, in a few words."""

    @property
    def stamp(self) -> tuple[int, ...]:
        """Changes when a file does."""

    def progress(self) -> list[str]:
        """How far it is, in parts of a sentence."""

    def returns(self) -> Series:
        """Transitions and return of episodes, by mode (warmup, train, eval)."""

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of numbers about learning, `transitions` among them; empty without any."""

    def last_episode(self) -> Episode | None:
        """The newest training episode; None without any."""

    def model_error(self) -> ModelError | None:
        """How well the nominal model predicts the newest transitions; None without any."""

    def facts(self, error: ModelError | None) -> "Sequence[Fact]":
        """What helps to see why it may not be learning; `error` is that of `model_error`."""

    def missing(self, what: str) -> str:
        """Why there are no `returns`, `metrics` or `rows`, in words."""


def last_episode(rows: Rows, dt: float) -> Episode | None:
    """The newest complete one, else the one begun."""
    if not len(rows.episode):
        return None
    complete = rows.episode[rows.ends]
    number = complete[-1] if len(complete) else rows.episode[-1]
    mine = rows.episode == number
    return Episode(int(number), dt * rows.step[mine], rows.state[mine], rows.action[mine])

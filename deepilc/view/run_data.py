"""What a run folder tells about its run, finished or not: series, last episode, model error.

Read anew whenever files changed; nothing here writes.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc import checkpoint
from deepilc.run import RunFolder
from deepilc.table import read_rows

if TYPE_CHECKING:
    from deepilc.config import TrainConfig
    from sims.system import System

__all__ = ["Episode", "ModelError", "Rows", "RunData"]

NEWEST_ROWS = 2_000
"""Transitions that the model's error is measured on: those that the policy of now meets."""


@dataclass(frozen=True)
class Rows:
    """The newest training transitions that the checkpoint holds, in their order.

    Attributes:
        episode: (N,) episode of each.
        step: (N,) step within it.
        state: (N, n) physical units.
        action: (N, m) as applied.
        next_state: (N, n)
        valid: (N,) whether its Jacobian is used.
    """

    episode: np.ndarray
    step: np.ndarray
    state: np.ndarray
    action: np.ndarray
    next_state: np.ndarray
    valid: np.ndarray


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


class RunData:
    """A run folder as numbers.

    Args:
        path: The folder.

    Raises:
        UserError: It is no run folder.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder = RunFolder.resume(path)
        self.path = self._folder.path
        self._stamp: tuple[int, int] | None = None
        self._rows: Rows | None = None

    @cached_property
    def config(self) -> "TrainConfig":
        """Its settings."""
        from deepilc import config as configuration

        return configuration.resolve(self._folder.read_config())

    @cached_property
    def system(self) -> "System":
        """Its system."""
        from sims import registry

        return registry.get(self.config.system)

    @property
    def stamp(self) -> tuple[int, ...]:
        """Changes when a file of the run does."""
        names = ("episodes.csv", "metrics.csv", "status.json", "checkpoints/latest.safetensors")
        files = [self.path / name for name in names]
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)

    def status(self) -> dict[str, Any]:
        """What the nodes last said (`status.json`); empty for runs in one process."""
        try:
            return dict(json.loads((self.path / "status.json").read_text()))
        except (OSError, ValueError):
            return {}

    def returns(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Training transitions and return of complete episodes, by mode (warmup, train, eval)."""
        found: dict[str, list[tuple[float, float]]] = {}
        for row in read_rows(self.path / "episodes.csv"):
            if row.get("complete", "1") == "1":
                point = float(row["transitions"]), float(row["return"])
                found.setdefault(row["mode"], []).append(point)
        return {mode: tuple(np.array(points).T) for mode, points in found.items()}

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of `metrics.csv`; NaN where a row has none."""
        rows = read_rows(self.path / "metrics.csv")
        if not rows:
            return {}
        return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}

    def rows(self) -> Rows | None:
        """The newest transitions of the newest checkpoint; None before the first one."""
        file = self._folder.checkpoint
        try:
            stat = file.stat()
        except OSError:
            return None
        if (stamp := (stat.st_mtime_ns, stat.st_size)) != self._stamp:
            tensors, _ = checkpoint.load(file, self.system)
            self._rows, self._stamp = _rows(tensors), stamp
        return self._rows

    def last_episode(self) -> Episode | None:
        """The last complete training episode in the newest checkpoint, else the one begun."""
        rows = self.rows()
        if rows is None or not len(rows.episode):
            return None
        numbers = np.unique(rows.episode)
        number = numbers[-2] if len(numbers) > 1 else numbers[-1]
        mine = rows.episode == number
        dt = self.system.dt
        return Episode(int(number), dt * rows.step[mine], rows.state[mine], rows.action[mine])

    def model_error(self) -> ModelError | None:
        """How well the nominal model predicts the newest transitions; None without any."""
        rows = self.rows()
        if rows is None or not len(rows.episode):
            return None
        system, config = self.system, self.config
        model = system.model(config.nominal_parameters, method=config.jacobian)
        predicted = model.step(rows.state, rows.action)
        scale = np.asarray(system.state.scale)

        def size(reference: np.ndarray) -> np.ndarray:
            error = (system.align(rows.next_state, reference) - reference) / scale
            with np.errstate(invalid="ignore", over="ignore"):
                return np.asarray(np.sqrt(np.nanmean(np.square(error), axis=0)))

        return ModelError(
            system.state.names,
            size(predicted),
            size(rows.state),
            float(rows.valid.mean()),
            len(rows.valid),
        )


def _rows(tensors: Any) -> Rows:
    """Unpacks the replay's columns (`deepilc.replay.Replay`)."""
    from deepilc.replay import Replay

    n, m, capacity = tensors["replay.sizes"].tolist()
    replay = Replay(n, m, capacity)
    prefix = "replay."
    replay.load_state_dict(
        {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
    )
    import torch

    first = max(0, replay.added - min(NEWEST_ROWS, len(replay)))
    indices = torch.arange(first, replay.added)
    batch = replay.rows(indices)
    keys = np.array([replay.keys(row) for row in indices.tolist()]).reshape(-1, 3)
    return Rows(
        keys[:, 1],
        keys[:, 2],
        batch.state.numpy(),
        batch.action.numpy(),
        batch.next_state.numpy(),
        batch.valid.numpy() > 0.0,
    )

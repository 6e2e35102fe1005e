"""What a run folder tells about its run, finished or not: series, last episode, model error.

Read anew whenever files changed; nothing here writes.
"""

import json
import math
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc import checkpoint
from deepilc.episodes import counts
from deepilc.errors import UserError
from deepilc.run import RunFolder
from deepilc.table import read_rows
from deepilc.view import why
from deepilc.view.shown import NEWEST_ROWS, Episode, ModelError, Rows, Series, last_episode

if TYPE_CHECKING:
    from deepilc.bags.dataset import Found
    from deepilc.config import TrainConfig
    from sims.system import System

__all__ = ["RunData"]


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
        self._bag_size, self._next_reading = -1, -math.inf
        self._recorded: tuple[Found, int] | None = None

    @property
    def title(self) -> str:
        """Name, system and parameter set."""
        return f"{self.path.name}: {self.system.name}, set {self.config.parameters}"

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

    def returns(self) -> Series:
        """Training transitions and return of complete episodes, by mode (warmup, train, eval)."""
        found: dict[str, list[tuple[float, float]]] = {}
        for row in read_rows(self.path / "episodes.csv"):
            if counts(row):
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
            self._rows, self._stamp = _rows(tensors, self.system.horizon), stamp
        return self._rows

    def last_episode(self) -> Episode | None:
        """The last complete training episode in the newest checkpoint, else the one begun."""
        rows = self.rows()
        return None if rows is None else last_episode(rows, self.system.dt)

    def model_error(self) -> ModelError | None:
        """How well the nominal model predicts the newest transitions; None without any."""
        rows = self.rows()
        if rows is None or not len(rows.episode):
            return None
        model = self.system.model(self.config.nominal_parameters, method=self.config.jacobian)
        return ModelError.of(rows, self.system, model)

    def recorded(self) -> tuple["Found", int] | None:
        """What the run's bag holds, and its rows; None without one.

        A bag that grows is read again only so often that this takes a twentieth of the time.
        """
        files = list((self.path / "bag").rglob("*.mcap"))
        size, now = sum(file.stat().st_size for file in files), time.monotonic()
        if not files or size == self._bag_size or now < self._next_reading:
            return self._recorded
        from deepilc.bags.transitions import load

        self._bag_size = size
        try:
            dataset = load([self.path], self.system)
            self._recorded = dataset.found, len(dataset)
        except UserError:  # nothing to learn from yet
            self._recorded = None
        self._next_reading = time.monotonic() + 19.0 * (time.monotonic() - now)
        return self._recorded

    def progress(self) -> list[str]:
        """How far the run is, in parts of a sentence."""
        returns = self.returns()
        if not returns:
            return ["no episode has ended yet"]
        last = max(int(x[-1]) for x, _ in returns.values())
        parts = [f"{last} of {self.config.transitions} training transitions"]
        if "eval" in returns:
            at, value = returns["eval"]
            here = value[at == at[-1]]
            parts.append(f"last evaluation {here.mean():.1f} (mean of {len(here)})")
        if self.status().get("finished"):
            parts.append("finished")
        return parts

    def facts(self, error: ModelError | None) -> list[why.Fact]:
        """What helps to see why it may not be learning; `error` is that of `model_error`."""
        found = [] if error is None else why.of_model(error)
        if status := self.status():
            found += why.of_status(status, self.config.updates_per_transition)
        if (recorded := self.recorded()) is not None:
            found += why.of_recording(*recorded)
        return found

    def missing(self, what: str) -> str:
        """Why there are no returns, metrics or rows."""
        if (self.path / "bag").is_dir():
            hint = f"; its bag may hold some: deepilc dashboard {self.path.name}/bag"
        else:
            hint = ""
        return {
            "returns": f"no episode has ended yet{hint}",
            "metrics": "no update has been reported yet",
            "rows": f"the first checkpoint has not been written yet{hint}",
        }[what]


def _rows(tensors: Any, horizon: int) -> Rows:
    """Unpacks the replay's columns (`deepilc.replay.Replay`); of several robots the newest row's.

    Each robot counts its episodes by itself. An episode of `horizon` steps was truncated there.
    """
    from deepilc.replay import Replay

    n, m, capacity = tensors["replay.sizes"].tolist()
    replay = Replay(n, m, capacity)
    prefix = "replay."
    replay.load_state_dict(
        {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
    )
    import torch

    first = max(0, replay.added - min(NEWEST_ROWS, len(replay)))
    newest = list(range(first, replay.added))
    indices = torch.tensor([i for i in newest if replay.robot(i) == replay.robot(newest[-1])])
    batch = replay.rows(indices)
    keys = np.array([replay.keys(row) for row in indices.tolist()]).reshape(-1, 3)
    return Rows(
        keys[:, 1],
        keys[:, 2],
        batch.state.numpy(),
        batch.action.numpy(),
        batch.next_state.numpy(),
        batch.valid.numpy() > 0.0,
        (batch.terminated.numpy() > 0.0) | (keys[:, 2] + 1 >= horizon),
    )

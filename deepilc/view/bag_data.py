"""What a bag alone tells: its episodes, and how well the nominal model predicts them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepilc.bags.linearizing import linearized
from deepilc.bags.reading import files_of
from deepilc.transition import Mode
from deepilc.view import why
from deepilc.view.shown import NEWEST_ROWS, Episode, ModelError, Rows, Series, last_episode

if TYPE_CHECKING:
    from deepilc.bags.dataset import Dataset
    from sims.model import Model
    from sims.system import System

__all__ = ["BagData"]


class BagData:
    """A bag as numbers.

    Args:
        path: Folder or file.
        system: Its system.
        model: The nominal model.
        model_name: That of the model's parameters.
        load: Reads the bag.

    Raises:
        UserError: There is no bag, or nothing in it to learn from.
    """

    def __init__(
        self,
        path: Path,
        system: "System",
        model: "Model",
        model_name: str,
        load: Callable[[], "Dataset"],
    ) -> None:
        self.path = path
        self._system, self._model, self._model_name, self._load = system, model, model_name, load
        self._files = files_of(path)
        self._stamp, self._data = self.stamp, load()
        self._rows: Rows | None = None

    @property
    def system(self) -> "System":
        """Its system."""
        return self._system

    @property
    def title(self) -> str:
        """Name, system and model."""
        where = "/".join(self.path.resolve().parts[-2:])
        return f"{where}: {self.system.name}, model {self._model_name}"

    @property
    def stamp(self) -> tuple[int, ...]:
        """Changes when the bag grows."""
        return tuple(file.stat().st_size for file in files_of(self.path))

    def progress(self) -> list[str]:
        """What is in it."""
        data = self._dataset()
        lines = [f"{len(data)} rows in {data.episodes} episodes, of {data.found.read} messages"]
        lines += [
            f"left out: {count} {reason}" for reason, count in data.found.dropped.items() if count
        ]
        return lines

    def returns(self) -> Series:
        """Rows before the end of each episode and its sum of rewards; gaps cut episodes."""
        rows = self._dataset().rows
        ends = np.flatnonzero(rows.terminated | rows.truncated)
        sums = np.bincount(rows.episode, weights=rows.reward.astype(np.float64))
        mode = rows.mode[ends]
        found = {}
        for name, which in (("warmup", Mode.WARMUP), ("train", Mode.TRAIN)):
            if (mine := mode == which).any():
                found[name] = (ends[mine] + 1.0, sums[rows.episode[ends[mine]]])
        return found

    def metrics(self) -> dict[str, np.ndarray]:
        """A bag knows nothing of learning."""
        return {}

    def last_episode(self) -> Episode | None:
        """The newest complete episode, else the one begun."""
        return last_episode(self._newest(), self.system.dt)

    def model_error(self) -> ModelError | None:
        """How well the nominal model predicts the newest rows."""
        return ModelError.of(self._newest(), self.system, self._model)

    def facts(self, error: ModelError | None) -> list[why.Fact]:
        """What helps to see why this data teaches little."""
        from deepilc.bags.coverage import coverage, thin

        data = self._dataset()
        found = [] if error is None else why.of_model(error)
        found += why.of_recording(data.found, len(data))
        reasons = thin(data.rows, coverage(data.rows, self.system), self.system)
        found += [why.Fact("thin data", reason, True, "") for reason in reasons]
        return found

    def missing(self, what: str) -> str:
        """Why there are no returns, metrics or rows."""
        if what == "metrics":
            return "a bag holds no losses; the run folder of its run does"
        return "the bag holds no complete episode"

    def _dataset(self) -> "Dataset":
        if (stamp := self.stamp) != self._stamp:
            self._data, self._stamp, self._rows = self._load(), stamp, None
        return self._data

    def _newest(self) -> Rows:
        """The newest rows, with whether their Jacobians serve."""
        rows = self._dataset().rows
        if self._rows is None:
            rows = rows.take(np.arange(max(0, len(rows) - NEWEST_ROWS), len(rows)))
            valid = np.concatenate([part.valid for _, part in linearized(rows, self._model)])
            # a gap, or the recording's end, cuts an episode without completing it
            ends = rows.terminated | (rows.step + 1 >= self.system.horizon)
            self._rows = Rows(
                rows.episode,
                rows.step,
                rows.state,
                rows.action,
                rows.next_state,
                valid,
                ends,
            )
        return self._rows

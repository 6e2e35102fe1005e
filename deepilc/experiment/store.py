"""The files of experiments.

```
ROOT/cells/NAME.csv    the curve of a finished run; exists only then
ROOT/cells/NAME.json   what was run, when, where and with which settings
ROOT/runs/NAME/        its run folder (`deepilc.run`), from which it goes on after an interruption
ROOT/logs/NAME.log     what it printed
ROOT/locks/NAME        held while a process works on it
ROOT/EXPERIMENT/curves.csv, experiment.json   all finished runs of an experiment joined
```
"""

import csv
import fcntl
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deepilc.errors import UserError
from deepilc.experiment.cell import Cell
from deepilc.run import write_atomic
from deepilc.table import read_rows

__all__ = ["COLUMNS", "CURVE_COLUMNS", "Point", "Store", "csv_text"]

CURVE_COLUMNS = (
    "transitions",
    "evaluation_transitions",
    "seconds",
    "return",
    "return_sd",
    "episodes",
)
COLUMNS = ("system", "parameters", "variant", "stage", "seed", "pilot", *CURVE_COLUMNS)


@dataclass(frozen=True)
class Point:
    """One evaluation of a run.

    Attributes:
        transitions: Training transitions so far.
        evaluation_transitions: Steps spent in evaluations so far, this one included.
        seconds: Wall-clock time that the run has worked so far, over all resumptions.
        mean: Mean return over the start states.
        deviation: Its standard deviation over them.
        episodes: Number of start states.
    """

    transitions: int
    evaluation_transitions: int
    seconds: float
    mean: float
    deviation: float
    episodes: int

    @property
    def row(self) -> list[Any]:
        """In the order of `CURVE_COLUMNS`."""
        numbers = f"{self.seconds:.1f}", f"{self.mean:.3f}", f"{self.deviation:.3f}"
        return [self.transitions, self.evaluation_transitions, *numbers, self.episodes]


class Store:
    """The files under one root folder.

    Args:
        root: Is made if missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            UserError: They cannot be made.
        """
        try:
            for name in ("cells", "runs", "logs", "locks"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {self.root}: {error.strerror}") from None

    def curve(self, cell: Cell) -> Path:
        """File of a finished run's evaluations."""
        return self.root / "cells" / f"{cell.name}.csv"

    def about(self, cell: Cell) -> Path:
        """File with what was run."""
        return self.root / "cells" / f"{cell.name}.json"

    def run(self, cell: Cell) -> Path:
        """Run folder."""
        return self.root / "runs" / cell.name

    def best(self, cell: Cell) -> Path:
        """Networks of its best evaluation, which another run can start from."""
        return self.run(cell) / "checkpoints" / "best.safetensors"

    def log(self, cell: Cell) -> Path:
        """What its process printed."""
        return self.root / "logs" / f"{cell.name}.log"

    def finished(self, cell: Cell) -> bool:
        """Whether it need not run again."""
        return self.curve(cell).exists()

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Cells that must run, each once, after those that they start from.

        A finished run that another one starts from runs again if its networks were removed.
        """
        found: dict[str, Cell] = {}
        for cell in cells:
            if self.finished(cell):
                continue
            if cell.initial is not None and not self.startable(cell):
                found.setdefault(cell.initial.name, cell.initial)
            found.setdefault(cell.name, cell)
        return list(found.values())

    def complete(self, cell: Cell) -> bool:
        """Whether it is finished, and its networks are there if others may start from them."""
        return self.finished(cell) and (cell.stage != "pretrain" or self.best(cell).exists())

    def startable(self, cell: Cell) -> bool:
        """Whether what it starts from is there."""
        return cell.initial is None or self.complete(cell.initial)

    def forget(self, cell: Cell) -> None:
        """A run that is made again is not finished any more, though its old curve was kept."""
        self.curve(cell).unlink(missing_ok=True)

    def done_share(self, cell: Cell) -> float:
        """How much of a run under way is done, 0..1."""
        rows = read_rows(self.run(cell) / "episodes.csv")
        return min(float(rows[-1]["transitions"]) / cell.budget, 1.0) if rows else 0.0

    def hold(self, cell: Cell) -> IO[bytes] | None:
        """Hold a cell, so that no other process runs it.

        Returns:
            A file, which every process that inherits it holds until its end; None if it is held.
        """
        file = (self.root / "locks" / cell.name).open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def save(self, cell: Cell, points: Sequence[Point], about: Mapping[str, Any]) -> None:
        """Keep a finished run.

        Args:
            cell: What was run.
            points: Its evaluations.
            about: `deepilc.run.circumstances` of its process.
        """
        entry = {
            "cell": cell.fields,
            "settings": cell.settings,
            "seconds": round(points[-1].seconds, 1),
            "started": about["started"],
            "revision": _revision(about),
            "packages": {"python": about["python"], **about["packages"]},
            "machine": about["machine"],
        }
        self.put(
            cell.name,
            json.dumps(entry, indent=2) + "\n",
            csv_text(CURVE_COLUMNS, [point.row for point in points]),
        )

    def put(self, name: str, about: str, curve: str) -> None:
        """Write the two files of a finished run; the curve last, since it means finished."""
        write_atomic(self.root / "cells" / f"{name}.json", about)
        write_atomic(self.root / "cells" / f"{name}.csv", curve)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _revision(about: Mapping[str, Any]) -> str:
    """The revision in words."""
    sha = about["git_sha"]
    return "unknown" if sha is None else sha[:12] + (" with changes" if about["git_dirty"] else "")

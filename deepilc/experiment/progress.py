"""Cells done and the time that is left, a line on a terminal and one line per cell elsewhere."""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from deepilc.experiment.cell import Cell
from deepilc.experiment.store import Store

__all__ = ["ExperimentProgress"]


class ExperimentProgress:
    """Shown on stderr; use it as a context.

    The time left weighs cells by transitions times updates, and counts how far those under way are.

    Args:
        store: Where runs under way write.
        cells: All that are wanted.
    """

    def __init__(self, store: Store, cells: Sequence[Cell]) -> None:
        self._store = store
        wanted = {cell.name: cell for cell in cells}
        self._weights = {name: cell.weight for name, cell in wanted.items()}
        self._done = {name for name, cell in wanted.items() if store.finished(cell)}
        # what was done before this start, also of cells that will go on, says nothing about speed
        self._before = {
            name: store.done_share(cell) for name, cell in wanted.items() if name not in self._done
        }
        self._shares = dict(self._before)
        self._began = self._updated = time.monotonic()
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.completed}/{task.total} runs"),
            BarColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(
            "runs", total=len(wanted), completed=len(self._done), left=""
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self._bar.stop()

    def finished(self, cell: Cell) -> None:
        """A cell is done, by this process or another."""
        self._done.add(cell.name)
        self._shares[cell.name] = 1.0
        self._console.print(f"finished {self._described(cell)}; {self._position}", soft_wrap=True)

    def failed(self, cell: Cell, reason: str) -> None:
        """A cell failed."""
        self._console.print(f"FAILED {self._described(cell)}: {reason}", soft_wrap=True)

    def update(self, running: Sequence[Cell]) -> None:
        """Look at the runs under way, at most once a second."""
        if time.monotonic() - self._updated < 1.0:
            return
        self._updated = time.monotonic()
        for cell in running:
            self._shares[cell.name] = self._store.done_share(cell)
        self._bar.update(self._task, completed=len(self._done), left=self._left)

    @property
    def _position(self) -> str:
        return ", ".join(filter(None, [f"{len(self._done)} of {len(self._weights)}", self._left]))

    @property
    def _left(self) -> str:
        """The time left, once there is a speed to judge by."""
        ours = [name for name in self._before if name in self._weights]
        work = sum(self._weights[n] * (self._shares[n] - self._before[n]) for n in ours)
        left = sum(self._weights[n] * (1.0 - self._shares[n]) for n in ours)
        if work <= 0.0:
            return ""
        return f"about {_duration(left / work * (time.monotonic() - self._began))} left"

    @staticmethod
    def _described(cell: Cell) -> str:
        return f"{cell.name} ({cell.variant}, {cell.stage})"


def _duration(seconds: float) -> str:
    """In words, as exactly as an estimate deserves."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"

"""Runs missing cells wherever there is room, each after the one that it starts from.

What is missing is looked up again before each start, so several commands may work on one root
folder at the same time: a cell that another process holds is left to it and waited for.
"""

import time
from collections.abc import Callable, Sequence
from typing import IO, Protocol

from deepilc.experiment.cell import Cell
from deepilc.experiment.progress import ExperimentProgress
from deepilc.experiment.store import Store

__all__ = ["Executor", "Job", "run_missing"]

POLL = 0.2  # s


class Job(Protocol):
    """A cell under way."""

    def outcome(self) -> str | None:
        """None while it runs; then why it failed, "" if it did not."""


class Executor(Protocol):
    """Where cells run."""

    slots: int

    def start(self, cell: Cell, lock: IO[bytes]) -> Job:
        """Starts a cell; `lock` must stay held for as long as it runs."""

    def stop(self) -> None:
        """Stops what runs, so that it can go on later."""


def run_missing(
    store: Store,
    cells: Sequence[Cell],
    executor: Executor,
    progress: ExperimentProgress,
    finished: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Runs what is missing.

    Args:
        store: The files.
        cells: What is wanted, in the order in which to start.
        executor: Where to run it.
        progress: Shows how far it is.
        finished: Called after each cell that finished.

    Returns:
        Why cells failed, by their names. A failure stops only the cells that start from it.

    Raises:
        KeyboardInterrupt: Everything that ran has been stopped and can go on.
    """
    pending = {cell.name: cell for cell in store.missing(cells)}
    running: dict[str, tuple[Cell, Job]] = {}
    failures: dict[str, str] = {}
    try:
        while pending or running:
            for name, (cell, job) in list(running.items()):
                outcome = job.outcome()
                if outcome is None:
                    continue
                del running[name]
                if not outcome and not store.complete(cell):
                    outcome = "it left no curve or no networks"
                if outcome:
                    failures[name] = outcome
                    progress.failed(cell, outcome)
                else:
                    progress.finished(cell)
                    finished()
            for name, cell in list(pending.items()):
                if len(running) >= executor.slots:
                    break
                if cell.initial is not None and cell.initial.name in failures:
                    del pending[name]
                    failures[name] = f"starts from {cell.initial.name}, which failed"
                    progress.failed(cell, failures[name])
                elif store.startable(cell):
                    lock = store.hold(cell)
                    if lock is None:
                        continue  # another process is at it
                    with lock:
                        del pending[name]
                        if store.complete(cell):  # by another process, meanwhile
                            progress.finished(cell)
                            finished()
                        else:
                            store.forget(cell)
                            running[name] = cell, executor.start(cell, lock)
            progress.update([cell for cell, _ in running.values()])
            time.sleep(POLL)
    except BaseException:
        executor.stop()
        raise
    return failures

"""An experiment from beginning to end: what is missing runs, what is finished is joined."""

import os
from collections.abc import Sequence
from contextlib import ExitStack

from deepilc.experiment import schedule, stable_baselines
from deepilc.experiment.cell import Cell
from deepilc.experiment.join import join
from deepilc.experiment.pool import Pool, interrupt_on_terminate
from deepilc.experiment.progress import ExperimentProgress
from deepilc.experiment.ray_pool import RayPool
from deepilc.experiment.store import Store

__all__ = ["run"]


def run(
    store: Store,
    name: str,
    cells: Sequence[Cell],
    *,
    command: str,
    workers: int | None = None,
    ray: str | None = None,
) -> dict[str, str]:
    """Runs what is missing; the experiment's files are written anew after each finished run.

    Args:
        store: The files.
        name: Of the experiment, and of its folder.
        cells: What it consists of.
        command: What the user called.
        workers: Runs at a time; None: as many as there are cores.
        ray: Address of a Ray cluster to run on instead (`RayPool`).

    Returns:
        Why runs failed, by cell name.

    Raises:
        UserError: A package is missing, there is no cluster, or a folder cannot be written.
        KeyboardInterrupt: Interrupted; the same call goes on.
    """
    if any(cell.trainer == "stable-baselines3" for cell in store.missing(cells)):
        stable_baselines.require()
    store.prepare()

    def join_finished() -> None:
        join(store, name, cells, command)

    with ExitStack() as stack:
        stack.enter_context(interrupt_on_terminate())
        executor: schedule.Executor = (
            Pool(store, workers or len(os.sched_getaffinity(0)))
            if ray is None
            else stack.enter_context(RayPool(store, ray))
        )
        progress = stack.enter_context(ExperimentProgress(store, cells))
        join_finished()
        return schedule.run_missing(store, cells, executor, progress, join_finished)

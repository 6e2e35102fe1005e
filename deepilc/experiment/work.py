"""Runs one cell in this process: `python -m deepilc.experiment.work ROOT CELL` (JSON).

Exit code 0: finished and kept; 2: a mistake in its settings, in one line; 130: interrupted and
saved; anything else: it failed, and the output says why.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from deepilc.errors import EXIT_INTERRUPTED, UserError, report
from deepilc.experiment.cell import Cell
from deepilc.experiment.store import Point, Store
from deepilc.run import RunFolder, circumstances
from deepilc.table import read_rows

__all__ = ["run_cell"]


def run_cell(store: Store, cell: Cell) -> None:
    """Runs a cell to its end, from its checkpoint if it was interrupted, and keeps its curve.

    Args:
        store: Holds what the cell starts from, and receives the result.
        cell: What to run.

    Raises:
        UserError: A setting is wrong, or a package is missing.
        KeyboardInterrupt: Interrupted, and saved.
    """
    import torch

    torch.set_num_threads(1)  # as many cells as cores run side by side
    about = circumstances()
    if cell.trainer == "stable-baselines3":
        from deepilc.experiment import stable_baselines

        points = stable_baselines.run(cell)
    elif cell.trainer == "ilc":
        points = _iterative_learning_control(cell)
    else:
        points = _ours(store, cell)
        about["started"] = RunFolder.resume(store.run(cell)).about["started"]
    store.save(cell, points, about)


def _ours(store: Store, cell: Cell) -> list[Point]:
    """VG-SAC or SAC through `deepilc.train`."""
    from deepilc.train import train

    path, config = store.run(cell), cell.config
    if (path / "run.json").exists():
        run = RunFolder.resume(path)
    else:
        shutil.rmtree(path, ignore_errors=True)  # it was killed while the folder was made
        run = RunFolder.create(path, config=config.model_dump(mode="json"))
    if not run.has_checkpoint:
        run.rewind({"": 0}, -1)
    initial = None if cell.initial is None else store.best(cell.initial)
    with run:
        train(config, run, initial=initial, resume=run.has_checkpoint)
    return _points(run)


def _points(run: RunFolder) -> list[Point]:
    """The evaluations of a run: those of the fixed start states at the same transition."""
    seconds = {row["episode"]: float(row["seconds"]) for row in read_rows(run.times.path)}
    evaluations: dict[int, list[dict[str, str]]] = {}
    for row in read_rows(run.episodes.path):
        if row["mode"] == "eval":
            evaluations.setdefault(int(float(row["transitions"])), []).append(row)
    points, steps = [], 0
    for transitions, rows in sorted(evaluations.items()):
        returns = np.array([float(row["return"]) for row in rows])
        steps += sum(int(float(row["steps"])) for row in rows)
        deviation = float(returns.std(ddof=min(len(returns) - 1, 1)))
        clock = seconds[rows[-1]["episode"]]
        points.append(
            Point(transitions, steps, clock, float(returns.mean()), deviation, len(returns))
        )
    return points


def _iterative_learning_control(cell: Cell) -> list[Point]:
    """The classical baseline of section 3.3, with the nominal model's Jacobians.

    Its transitions are those per start state. Recorded rollouts are its evaluations.
    """
    from deepilc.ilc import run_curve

    rows = run_curve(
        cell.system,
        cell.parameters,
        cell.seed,
        cell.budget,
        cell.episodes,
        nominal=cell.config.nominal,
        method=cell.config.jacobian,
    )
    return [
        Point(row.transitions, 0, row.seconds, row.mean, row.deviation, row.episodes)
        for row in rows
    ]


def main() -> int:
    """Runs the cell that the command line names."""
    root, cell = sys.argv[1:]
    try:
        run_cell(Store(Path(root)), Cell.from_fields(json.loads(cell)))
    except UserError as error:
        return report(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())

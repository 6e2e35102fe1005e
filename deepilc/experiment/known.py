"""Takes finished runs over from an experiment that was kept, such as those under `results`.

An experiment can so be continued elsewhere: only the runs that it lacks are made.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepilc.errors import UserError
from deepilc.experiment.store import CURVE_COLUMNS, Store, csv_text
from deepilc.run import write_atomic
from deepilc.table import read_rows

__all__ = ["adopt"]


def adopt(store: Store, folder: Path) -> int:
    """Takes over every run of an experiment's two files that the store does not have.

    What was said per run (settings, seconds) stays; revision, packages and machine are those of the
    whole experiment, which is all that its files know.

    A run that was begun here goes on instead: its networks and the kept curve would be of two runs.

    Args:
        store: Receives the runs, and the experiment if it has none of that name.
        folder: Holds `curves.csv` and `experiment.json`.

    Returns:
        Runs taken over.

    Raises:
        UserError: The files are missing, damaged or do not belong together.
    """
    file = folder / "experiment.json"
    try:
        text = file.read_text()
        content = json.loads(text)
        name, cells = str(content["experiment"]), list(content["cells"])
        shared = {key: content[key] for key in ("revision", "packages", "machine")}
        rows = read_rows(folder / "curves.csv")
        curves = {cell["name"]: _curve(cell, rows) for cell in cells}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} is no kept experiment ({error!r}); name a folder with curves.csv and "
            "experiment.json, such as results/scratch"
        ) from None
    empty = [cell for cell, curve in curves.items() if not curve]
    if empty:
        raise UserError(
            f"{folder / 'curves.csv'} lacks the run {empty[0]}, which {file.name} names"
        )
    store.prepare()
    taken = 0
    for cell in cells:
        begun = store.root / "runs" / cell["name"] / "run.json"
        if begun.exists() or (store.root / "cells" / f"{cell['name']}.csv").exists():
            continue
        about = {"settings": cell["settings"], "seconds": cell["seconds"], **shared}
        store.put(
            cell["name"],
            json.dumps(about, indent=2) + "\n",
            csv_text(CURVE_COLUMNS, curves[cell["name"]]),
        )
        taken += 1
    own = store.root / name / file.name
    if not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(own, text)
    return taken


def _curve(cell: Mapping[str, Any], rows: list[dict[str, str]]) -> list[list[str]]:
    """The evaluations of one run, in the order of `CURVE_COLUMNS`."""
    identity = [str(cell[key]) for key in ("system", "parameters", "variant", "stage", "seed")]
    identity.append(str(int(cell["pilot"])))
    keys = ("system", "parameters", "variant", "stage", "seed", "pilot")
    return [
        [row[column] for column in CURVE_COLUMNS]
        for row in rows
        if [row[key] for key in keys] == identity
    ]

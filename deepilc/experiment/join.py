"""Joins the finished runs of an experiment into its two files, from which reports are made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepilc.experiment.cell import Cell
from deepilc.experiment.store import COLUMNS, CURVE_COLUMNS, Store, csv_text
from deepilc.run import write_atomic
from deepilc.table import read_rows

__all__ = ["join"]


def join(store: Store, experiment: str, cells: Sequence[Cell], command: str) -> Path:
    """Writes `curves.csv` and `experiment.json`.

    Runs that earlier calls put there stay, except those that this call has under the same system,
    parameters, variant and stage with other settings.

    Args:
        store: Where the runs are.
        experiment: Its name.
        cells: What was selected now, finished or not.
        command: What was called.

    Returns:
        The experiment's folder.
    """
    folder = store.root / experiment
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "experiment.json"
    before: dict[str, Any] = {"command": "", "cells": []}
    if file.exists():
        before = json.loads(file.read_text())
    selected = {_key(entry): entry for entry in map(_entry, cells)}
    digests = {_group(entry): _digest(entry) for entry in selected.values()}
    kept = [
        entry
        for entry in before["cells"]
        if _key(entry) not in selected
        and digests.get(_group(entry), _digest(entry)) == _digest(entry)
    ]
    curves, entries, abouts = [], [], []
    for entry in [*kept, *selected.values()]:
        curve = store.root / "cells" / f"{entry['name']}.csv"
        if not curve.exists():
            continue
        about = json.loads(curve.with_suffix(".json").read_text())
        abouts.append(about)
        entries.append({**entry, "seconds": about["seconds"], "settings": about["settings"]})
        identity = [entry[column] for column in COLUMNS[:5]] + [int(entry["pilot"])]
        curves += [
            [*identity, *(row[column] for column in CURVE_COLUMNS)] for row in read_rows(curve)
        ]
    finished = {entry["name"] for entry in entries}
    earlier = [line for line in before["command"].splitlines() if kept and line != command]
    content = {
        "experiment": experiment,
        "command": "\n".join([*earlier, command]),
        "revision": ", ".join(sorted({about["revision"] for about in abouts})),
        "packages": abouts[-1]["packages"] if abouts else {},
        "machine": abouts[-1]["machine"] if abouts else {},
        "episodes": {entry["system"]: entry["episodes"] for entry in entries},
        "missing": [e["name"] for e in selected.values() if e["name"] not in finished],
        "cells": entries,
    }
    write_atomic(folder / "curves.csv", csv_text(COLUMNS, curves))
    write_atomic(file, json.dumps(content, indent=2) + "\n")
    return folder


def _entry(cell: Cell) -> dict[str, Any]:
    """What `experiment.json` says about a cell, before what its run adds."""
    return {
        "name": cell.name,
        "system": Path(cell.system).name,
        "parameters": Path(cell.parameters).name,
        "variant": cell.variant,
        "stage": cell.stage,
        "seed": cell.seed,
        "pilot": cell.pilot,
        "budget": cell.budget,
        "episodes": cell.episodes,
    }


def _group(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[key] for key in ("system", "parameters", "variant", "stage", "pilot"))


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*_group(entry), entry["seed"])


def _digest(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rpartition("-")[2]

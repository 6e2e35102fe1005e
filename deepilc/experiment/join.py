"""Joins the finished runs of an experiment into its two files, from which reports are made."""

import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepilc.errors import UserError
from deepilc.experiment.cell import Cell
from deepilc.experiment.store import COLUMNS, CURVE_COLUMNS, Store, csv_text
from deepilc.run import write_atomic
from deepilc.table import read_rows

__all__ = ["join"]


def join(store: Store, experiment: str, cells: Sequence[Cell], command: str) -> Path:
    """Writes `curves.csv` and `experiment.json`.

    Runs that earlier calls put there stay, except those that this call has under the same system,
    parameters, variant and stage with other settings. Several processes may join the same
    experiment: they take turns, so that none loses what another one adds.

    Args:
        store: Where the runs are.
        experiment: Its name.
        cells: What was selected now, finished or not.
        command: What was called.

    Returns:
        The experiment's folder.

    Raises:
        UserError: A file that it reads is damaged, or one cannot be written.
    """
    folder = store.root / experiment
    folder.mkdir(parents=True, exist_ok=True)
    with (store.root / "locks" / f"{experiment}.join").open("wb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        _join(store, folder, cells, command)
    return folder


def _join(store: Store, folder: Path, cells: Sequence[Cell], command: str) -> None:
    file = folder / "experiment.json"
    before = _read(file, "remove it, and repeat the calls of its runs") if file.exists() else {}
    selected = {_key(entry): entry for entry in map(_entry, cells)}
    digests = {_group(entry): _digest(entry) for entry in selected.values()}
    kept = [
        entry
        for entry in before.get("cells", [])
        if _key(entry) not in selected
        and digests.get(_group(entry), _digest(entry)) == _digest(entry)
    ]
    curves, entries, abouts = [], [], []
    for entry in [*kept, *selected.values()]:
        curve = store.root / "cells" / f"{entry['name']}.csv"
        if not curve.exists():
            continue
        again = f"remove it and {curve.name}, and the run is made again"
        about, rows = _read(curve.with_suffix(".json"), again), read_rows(curve)
        if not rows:
            raise UserError(f"{curve} has no rows; remove it, and the run is made again")
        abouts.append(about)
        entries.append({**entry, "seconds": about["seconds"], "settings": about["settings"]})
        identity = [entry[column] for column in COLUMNS[:5]] + [int(entry["pilot"])]
        curves += [[*identity, *(row[column] for column in CURVE_COLUMNS)] for row in rows]
    finished = {entry["name"] for entry in entries}
    earlier = [line for line in before.get("command", "").splitlines() if kept and line != command]
    content = {
        "experiment": folder.name,
        "command": "\n".join([*earlier, command]),
        "revision": ", ".join(
            sorted({one for about in abouts for one in about["revision"].split(", ")})
        ),
        "packages": _union([about["packages"] for about in abouts]),
        "machine": _union([about["machine"] for about in abouts]),
        "episodes": {entry["system"]: entry["episodes"] for entry in entries},
        "missing": [e["name"] for e in selected.values() if e["name"] not in finished],
        "cells": entries,
    }
    write_atomic(folder / "curves.csv", csv_text(COLUMNS, curves))
    write_atomic(file, json.dumps(content, indent=2) + "\n")


def _read(file: Path, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{file} is missing or damaged; {remedy}")
    return content


def _union(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Values by key; those that differ between the runs, all of them in one text."""
    union: dict[str, Any] = {}
    for key in dict.fromkeys(key for part in parts for key in part):
        given = [part[key] for part in parts if part.get(key) is not None]
        # a part may be a union itself (`known`)
        each = [one for v in given for one in (v.split(", ") if isinstance(v, str) else [v])]
        values = list(dict.fromkeys(each))
        union[key] = ", ".join(map(str, values)) if len(values) > 1 else (values or [None])[0]
    return union


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

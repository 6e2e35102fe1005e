"""Rows of numbers as CSV files."""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deepilc.report.statistics import Interval
from deepilc.run import write_atomic

__all__ = ["write_csv"]


def write_csv(path: Path, rows: Sequence[Any]) -> None:
    """Rows (dataclasses of one kind) with their intervals spread over columns; none removes it."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    flat = [dict(_flat(row)) for row in rows]
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_atomic(path, text.getvalue())


def _flat(row: Any) -> Iterable[tuple[str, Any]]:
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Interval):
            parts = (value.value, value.low, value.high)
            yield from zip(
                (field.name, f"{field.name}_low", f"{field.name}_high"),
                map(_cell, parts),
                strict=True,
            )
            yield f"{field.name}_mark", value.mark
        else:
            yield field.name, _cell(value)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value

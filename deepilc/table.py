"""A CSV file that survives a crash: whole lines only, and it can be cut back on resume."""

import contextlib
import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from deepilc.errors import UserError

__all__ = ["Table", "read_rows"]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Complete rows of a CSV file with a header; a torn last line is left out.

    Args:
        path: May be missing: no rows.
    """
    return _parse(path)[1]


class Table:
    """Appends rows to a CSV file; the first row fixes the columns.

    A row with a new column rewrites the file once with that column empty in the earlier rows, so
    a metric may appear late. Each row reaches the operating system as one write.
    """

    def __init__(self, path: Path) -> None:
        """The file is made by the first row; an existing one is continued."""
        self.path = path
        self._columns: list[str] = []
        self._file: TextIO | None = None

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row.

        Raises:
            UserError: The disk is full or not writable; the rows before stay.
        """
        try:
            self._append(row)
        except OSError as error:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()  # what it still holds cannot be written either
                self._file = None  # the next row opens it again, without a torn line
            raise UserError(f"cannot write {self.path}: {error.strerror}") from None

    def _append(self, row: Mapping[str, Any]) -> None:
        if self._file is None:
            self._open()
        new = [key for key in row if key not in self._columns]
        if new:
            self._rewrite([*self._columns, *new], _parse(self.path)[1])
        assert self._file is not None
        self._file.write(_line([_text(row.get(column, "")) for column in self._columns]))
        self._file.flush()

    def truncate(self, keep: Callable[[Mapping[str, str]], bool]) -> None:
        """Drop a torn last line and the rows that `keep` refuses."""
        if self.path.exists():
            columns, rows = _parse(self.path)
            self._rewrite(columns, [row for row in rows if keep(row)])

    def close(self) -> None:
        """Close the file; `append` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        columns, rows = _parse(self.path)
        self._rewrite(columns, rows)

    def _rewrite(self, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
        self.close()
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with open(temporary, "w", newline="") as file:
            if columns:
                file.write(_line(columns))
            file.writelines(_line([row.get(key, "") for key in columns]) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        self._columns = list(columns)
        self._file = open(self.path, "a", newline="")  # noqa: SIM115


def _parse(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        text = path.read_bytes().decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole)))
    if not lines:
        return [], []
    columns = lines[0]
    return columns, [
        dict(zip(columns, line, strict=True)) for line in lines[1:] if len(line) == len(columns)
    ]


def _line(values: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _text(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float | np.floating) else str(value)

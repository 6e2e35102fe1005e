"""Records of which every array has one row per start state."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Rows:
    """What has rows: every field is an array (B, ...)."""

    def rows(self, which: np.ndarray) -> Self:
        """Some of the rows: a bool mask (B,) or indices."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    def put(self, which: np.ndarray, other: Self) -> None:
        """Overwrites some rows in place."""
        for field in fields(self):
            getattr(self, field.name)[which] = getattr(other, field.name)

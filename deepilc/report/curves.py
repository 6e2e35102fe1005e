"""Reads the runs of an experiment from its folder, and refuses what it cannot trust."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepilc.errors import UserError
from deepilc.report.statistics import Crossing, Curve, crossing

__all__ = ["BASE_VARIANT", "COLUMNS", "Experiment", "Run", "World", "read"]

CURVES, ABOUT = "curves.csv", "experiment.json"
NAMES = ("system", "parameters", "variant", "stage")
NUMBERS = ("transitions", "evaluation_transitions", "seconds", "return")
COLUMNS = (*NAMES, "seed", "pilot", *NUMBERS)
STAGES = ("scratch", "pretrain", "finetune")
BASE_VARIANT = "SAC"
"""Its pilot runs from scratch fix thresholds and the scale of normalised scores."""

World = tuple[str, str]
"""System and parameter set."""


@dataclass(frozen=True, eq=False)
class Run:
    """One training run.

    Attributes:
        system: What was controlled.
        parameters: Parameter set of its world.
        variant: What the legend says.
        stage: `scratch`, `pretrain` or `finetune`.
        seed: Its seed.
        pilot: Whether it only serves to fix thresholds.
        transitions: (P,) training transitions of this stage before each evaluation, rising.
        evaluation_transitions: (P,) transitions spent in evaluations so far.
        seconds: (P,) wall-clock of the run so far.
        returns: (P,) mean return over the fixed start states.
    """

    system: str
    parameters: str
    variant: str
    stage: str
    seed: int
    pilot: bool
    transitions: np.ndarray
    evaluation_transitions: np.ndarray
    seconds: np.ndarray
    returns: np.ndarray

    @property
    def world(self) -> World:
        """System and parameter set."""
        return self.system, self.parameters

    @property
    def curve(self) -> Curve:
        """Transitions and returns."""
        return self.transitions, self.returns

    def crossing(self, level: float) -> Crossing:
        """When it first reached a return."""
        return crossing(self.curve, level)

    def return_at(self, transitions: int) -> float | None:
        """Return of the nearest evaluation; None if the run has none within one interval of it."""
        distance = np.abs(self.transitions - transitions)
        nearest = int(distance.argmin())
        gaps = np.diff(self.transitions)
        if distance[nearest] > (gaps.max() if len(gaps) else 0):
            return None
        return float(self.returns[nearest])


@dataclass(frozen=True)
class Experiment:
    """What the folder holds.

    Attributes:
        folder: Where it was read from.
        about: Contents of `experiment.json`.
        runs: All runs, in the order of the file.
    """

    folder: Path
    about: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """Name of the experiment, else of its folder."""
        return str(self.about.get("experiment") or self.folder.resolve().name)

    @property
    def worlds(self) -> list[World]:
        """Where test runs learned, in the order of the file; pre-training is not among them."""
        return list(dict.fromkeys(run.world for run in self.tests()))

    @property
    def variants(self) -> list[str]:
        """What was compared, in the order of the file."""
        return list(dict.fromkeys(run.variant for run in self.tests()))

    def tests(self, world: World | None = None, variant: str | None = None) -> list[Run]:
        """Test runs that are not pre-training, of one world and variant where these are given."""
        return [
            run
            for run in self.runs
            if not run.pilot
            and run.stage != "pretrain"
            and world in (None, run.world)
            and variant in (None, run.variant)
        ]

    def pilots(self, world: World) -> list[Run]:
        """Pilot runs of SAC from scratch in a world."""
        return [run for run in self._pilots(world, "scratch") if run.variant == BASE_VARIANT]

    def fine_tuning_pilots(self, world: World) -> dict[str, list[Run]]:
        """Pilot runs of fine-tuning in a world, by variant."""
        lines: dict[str, list[Run]] = {}
        for run in self._pilots(world, "finetune"):
            lines.setdefault(run.variant, []).append(run)
        return lines

    def _pilots(self, world: World, stage: str) -> list[Run]:
        return [r for r in self.runs if r.pilot and r.world == world and r.stage == stage]

    def pretraining(self) -> list[Run]:
        """Test runs in the nominal model, before fine-tuning."""
        return [run for run in self.runs if run.stage == "pretrain" and not run.pilot]


def read(folder: str | Path) -> Experiment:
    """Read `curves.csv` and `experiment.json`.

    Raises:
        UserError: One is missing, or is not what `deepilc experiment` writes.
    """
    folder = Path(folder)
    rows: dict[tuple[Any, ...], list[list[float]]] = {}
    for line, row in _rows(folder / CURVES):
        key, numbers = _parse(folder / CURVES, line, row)
        points = rows.setdefault(key, [])
        if points and numbers[0] <= points[-1][0]:
            raise UserError(
                f"{folder / CURVES}, line {line}: transitions {numbers[0]:.0f} follow "
                f"{points[-1][0]:.0f} in the same run; they must rise. Run the experiment again"
            )
        points.append(numbers)
    if not rows:
        raise UserError(f"{folder / CURVES} has no rows: no run has finished yet")
    runs = [Run(*key, *np.array(points, np.float64).T) for key, points in rows.items()]
    stages: dict[tuple[World, str], str] = {}
    for run in runs:
        if run.stage != "pretrain" and stages.setdefault((run.world, run.variant), run.stage) != (
            run.stage
        ):
            raise UserError(
                f"{folder / CURVES}: {run.variant!r} in {':'.join(run.world)} is from scratch and "
                "fine-tuned; what differs needs names that differ"
            )
    return Experiment(folder, _about(folder / ABOUT), tuple(runs))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        lines = list(csv.reader(path.read_text().splitlines()))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"there is no {path}; give a folder that `deepilc experiment` wrote"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text; run the experiment again") from None
    header = lines[0] if lines else []
    if missing := [column for column in COLUMNS if column not in header]:
        raise UserError(
            f"{path} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}, which "
            "`deepilc experiment` writes"
        )
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise UserError(
                f"{path}, line {number} is torn: {len(line)} values for {len(header)} columns; "
                "run the experiment again, finished runs are kept"
            )
        rows.append((number, dict(zip(header, line, strict=True))))
    return rows


def _parse(path: Path, line: int, row: Mapping[str, str]) -> tuple[tuple[Any, ...], list[float]]:
    """The key of the run (as the first fields of `Run`) and the numbers of one evaluation."""
    if row["stage"] not in STAGES:
        raise UserError(
            f"{path}, line {line}: stage is {row['stage']!r}; allowed: {', '.join(STAGES)}"
        )
    try:
        numbers = [float(row[column]) for column in NUMBERS]
        seed, pilot = int(row["seed"]), bool(int(row["pilot"]))
    except ValueError as error:
        raise UserError(f"{path}, line {line}: {error}; a number is needed there") from None
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"{path}, line {line}: a number is not finite; run the experiment again")
    return (*(row[column] for column in NAMES), seed, pilot), numbers


def _about(path: Path) -> Mapping[str, Any]:
    try:
        about = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"there is no {path}, which says how the runs were made; copy it beside {CURVES}"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(about, dict):
        raise UserError(f"{path} is not an object; it must be what `deepilc experiment` writes")
    return about

"""One small cell of the table from the command to the report: every number is from its files."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from deepilc.cli.app import run
from deepilc.experiment.matrices import Request, cells_of
from deepilc.experiment.run import run as run_cells
from deepilc.experiment.store import Store
from deepilc.report.curves import read
from tests.experiment.small import SETTINGS

RESULTS = Path(__file__).resolve().parents[2] / "results"
CALL = [
    *("experiment", "scratch", "--systems", "rexquadrotor", "--variants", "VG-SAC"),
    *("--seeds", "1", "--budget", "300", "--interval", "100", "--episodes", "2"),
    *(word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")),
]


def evaluations(folder: Path) -> tuple[list[int], list[float]]:
    """Transitions and mean returns, from the episodes that the run itself wrote."""
    with open(folder / "episodes.csv", newline="") as file:
        episodes = [row for row in csv.DictReader(file) if row["mode"] == "eval"]
    pairs = list(zip(episodes[::2], episodes[1::2], strict=True))
    returns = [(float(one["return"]) + float(two["return"])) / 2 for one, two in pairs]
    return [int(one["transitions"]) for one, _ in pairs], returns


def line(text: str, after: str) -> list[str]:
    """Cells of the first row about VG-SAC after a heading."""
    found = re.search(r"^\| VG-SAC \|(.*)\|$", text[text.index(after) :], re.M)
    assert found, text
    return [cell.strip() for cell in found.group(1).split("|")]


def test_a_small_cell_runs_and_its_report_is_built_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = [*CALL, "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["deepilc", *call])
    assert run(call) == 0
    folder = tmp_path / "scratch"
    (own,) = tmp_path.glob("runs/rexquadrotor-real-scratch-VG-SAC-0-*")
    transitions, returns = evaluations(own)
    best = int(np.argmax(returns))
    level = round(returns[best] - 0.1, 1)  # reached at the best evaluation, by a margin
    reached_at = next(at for at, value in zip(transitions, returns, strict=True) if value >= level)

    given = ["--level", f"rexquadrotor:real:{level}"]
    heading = f"return {level}\n\nLevel: given"
    assert run(["report", str(folder), *given]) == 0
    text = (folder / "report.md").read_text()
    assert line(text, heading)[:2] == [str(reached_at), "0 of 1"]
    assert float(line(text, "## Returns")[-1]) == pytest.approx(returns[-1], abs=0.06)
    assert str(tmp_path) not in text

    pilots = [evaluations(path)[1] for path in tmp_path.glob("runs/*-scratch-SAC-100[01]-*")]
    assert len(pilots) == 2
    first, last = np.mean([pilot[0] for pilot in pilots]), np.mean([pilot[-1] for pilot in pilots])
    threshold = re.search(r"`real`: return (\S+)\n\nLevel: 90 %", text)
    if last > first:
        assert threshold is not None
        assert float(threshold[1]) == pytest.approx(first + 0.9 * (last - first), abs=0.06)
    else:
        assert threshold is None and "gained nothing" in text

    # the file is all that it knows: with lower returns in it, the level was not reached
    curves = folder / "curves.csv"
    rows = list(csv.DictReader(curves.read_text().splitlines()))
    with curves.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            lower = float(row["return"]) - (1000.0 if row["variant"] == "VG-SAC" else 0.0)
            writer.writerow({**row, "return": f"{lower:.3f}"})
    assert run(["report", str(folder), *given]) == 0
    text = (folder / "report.md").read_text()
    assert line(text, heading)[1] == "1 of 1"
    assert float(line(text, "## Returns")[-1]) == pytest.approx(returns[-1] - 1000.0, abs=0.06)


def test_a_cell_of_the_kept_table_begins_as_it_is_written_there(tmp_path: Path) -> None:
    """As far as processors agree: later returns follow from the last bits of earlier ones."""
    call = ["experiment", "scratch", "--systems", "cartpole", "--variants", "VG-SAC;SAC"]
    assert run([*call, "--seeds", "1", "--budget", "1", "--out", str(tmp_path)]) == 0
    made = read(tmp_path / "scratch").runs
    kept = {
        (each.variant, each.seed): each
        for each in read(RESULTS / "scratch").runs
        if each.system == "cartpole"
    }
    names = [(again.variant, again.seed) for again in made]
    assert sorted(names) == [("SAC", 0), ("SAC", 1000), ("SAC", 1001), ("VG-SAC", 0)]
    for again in made:
        before = kept[again.variant, again.seed]
        assert again.returns[0] == pytest.approx(before.returns[0], rel=1e-3)
        assert again.evaluation_transitions[0] == before.evaluation_transitions[0]


def test_a_whole_cell_of_a_kept_table_comes_out_as_it_is_written_there(tmp_path: Path) -> None:
    """The one that learns without networks: rounding moves its curve little, also elsewhere."""
    cells = cells_of("ilc", Request(["cartpole"], seeds=[0], budget=3_000))
    (cell,) = (cell for cell in cells if cell.variant == "ILC")
    run_cells(Store(tmp_path), "ilc", [cell], command="one cell", workers=1)
    (again,) = read(tmp_path / "ilc").runs
    (before,) = (
        each
        for each in read(RESULTS / "ilc").runs
        if (each.system, each.variant, each.seed) == ("cartpole", "ILC", 0)
    )
    assert again.transitions.tolist() == before.transitions.tolist()
    # it learns 65 on the way from -20, and other seeds end 5 from it
    assert again.returns == pytest.approx(before.returns, abs=3.0)

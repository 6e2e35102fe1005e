"""Runs that are taken over from an experiment that was kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepilc.errors import UserError
from deepilc.experiment.join import join
from deepilc.experiment.known import adopt
from deepilc.experiment.matrices import DIFFERENCES, Request, Variant, cells_of
from deepilc.experiment.store import Store
from deepilc.table import read_rows
from tests.experiment.small import VG, finish

RESULTS = Path(__file__).resolve().parents[2] / "results"

OTHER = replace(VG, seed=4)


def kept(root: Path) -> Path:
    """An experiment of two runs on another machine."""
    store = Store(root)
    finish(store, VG, OTHER)
    return join(store, "small", [VG, OTHER], "made elsewhere")


def test_runs_of_a_kept_experiment_are_not_missing_elsewhere(tmp_path: Path) -> None:
    folder = kept(tmp_path / "there")
    here = Store(tmp_path / "here")
    new = replace(VG, seed=5)
    assert adopt(here, folder) == 2 and adopt(here, folder) == 0
    assert here.missing([VG, OTHER, new]) == [new]
    finish(here, new)
    joined = join(here, "small", [new], "made here")
    rows, before = read_rows(joined / "curves.csv"), read_rows(folder / "curves.csv")
    assert sorted(row["seed"] for row in rows) == ["3", "4", "5"]
    assert all(row in rows for row in before), "the curves are those that were kept"
    content = json.loads((joined / "experiment.json").read_text())
    earlier = json.loads((folder / "experiment.json").read_text())
    assert content["command"].splitlines() == ["made elsewhere", "made here"]
    assert content["revision"] == earlier["revision"], "one revision is not named twice"
    assert content["packages"] == earlier["packages"]


def test_a_run_made_here_is_not_replaced_by_one_taken_over(tmp_path: Path) -> None:
    folder = kept(tmp_path / "there")
    here = Store(tmp_path / "here")
    finish(here, VG)
    here.curve(VG).write_text(here.curve(VG).read_text().replace("-1.000", "-2.000"))
    assert adopt(here, folder) == 1
    assert read_rows(here.curve(VG))[0]["return"] == "-2.000"


def test_a_folder_that_is_no_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no kept experiment"):
        adopt(Store(tmp_path / "here"), tmp_path)


OFF = {f"{stage}.model.synthetic_share": 0.0 for stage in ("pretrain", "finetune")}


def test_curves_that_lack_a_run_are_refused_before_anything_is_taken(tmp_path: Path) -> None:
    folder = kept(tmp_path / "there")
    curves = folder / "curves.csv"
    lines = curves.read_text().splitlines(keepends=True)
    curves.write_text("".join(line for line in lines if ",4,0," not in line))
    here = Store(tmp_path / "here")
    with pytest.raises(UserError, match=r"lacks the run .*-4-"):
        adopt(here, folder)
    assert not here.finished(VG)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("scratch", None),
        ("scratch-published", None),
        ("scratch-paper", "paper"),
        ("finite-difference", None),
        ("ablation", None),
        ("ilc", None),
    ],
)
def test_the_kept_tables_can_be_continued_since_their_runs_have_the_names_of_today(
    name: str, preset: str | None
) -> None:
    """A new setting that changes names belongs into NEUTRAL; a new default makes results old."""
    content = json.loads((RESULTS / name / "experiment.json").read_text())
    kept = {cell["name"] for cell in content["cells"]}
    systems = list(dict.fromkeys(cell["system"] for cell in content["cells"]))
    without = Variant("VG-SAC, no rollouts", {"model.synthetic_share": 0.0})
    black_box = Variant("rollouts", {**DIFFERENCES.settings, "model.synthetic_share": 0.5})
    for system in systems:
        theirs = [cell for cell in content["cells"] if cell["system"] == system]
        (budget,) = {cell["budget"] for cell in theirs}
        (interval,) = {cell["settings"]["evaluation_interval"] for cell in theirs}
        sets = tuple({cell["parameters"] for cell in theirs})
        request = Request(
            *([system], sets),
            seeds=sorted({cell["seed"] for cell in theirs if not cell["pilot"]}),
            budget=budget,
            interval=interval,
            preset=preset,
            settings={"agent.alpha": 0.02} if system == "dmc_cheetah" else {},
            added=[without, black_box],
        )
        names = {cell.name for cell in cells_of(content["experiment"], request)}
        assert {name for name in kept if name.startswith(f"{system}-")} <= names


@pytest.mark.parametrize(
    ("name", "settings", "least"),
    [("finetune", {}, 100), ("finetune-published", OFF, 20)],
)
def test_the_kept_fine_tuning_can_be_continued_but_for_its_pilots_from_scratch(
    name: str, settings: dict[str, float], least: int
) -> None:
    content = json.loads((RESULTS / name / "experiment.json").read_text())
    kept = {cell["name"] for cell in content["cells"] if cell["stage"] != "scratch"}
    worlds = dict.fromkeys((cell["system"], cell["parameters"]) for cell in content["cells"])
    both = {f"{stage}.agent.value_gradient": True for stage in ("pretrain", "finetune")}
    without = Variant("no rollouts", {**both, **OFF})
    late = {**both, "pretrain.agent.value_gradient": False, "finetune.model.synthetic_share": 0.0}
    added = [without, Variant("RL pre / VG fine, no rollouts", late)]
    names = {
        cell.name
        for system, parameters in worlds
        if not parameters.endswith("nominal")
        for request in [Request([system], (parameters,), settings=settings, added=added)]
        for cell in cells_of("finetune", request)
    }
    assert len(kept) >= least and kept <= names


def test_a_run_that_was_begun_here_goes_on_here(tmp_path: Path) -> None:
    folder = kept(tmp_path / "there")
    here = Store(tmp_path / "here")
    here.prepare()
    here.run(VG).mkdir(parents=True)
    (here.run(VG) / "run.json").write_text("{}")
    assert adopt(here, folder) == 1
    assert not here.finished(VG)

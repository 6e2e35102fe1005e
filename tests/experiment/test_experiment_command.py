"""`deepilc experiment` as a user calls it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepilc.cli.app import run
from deepilc.experiment.matrices import Request, cells_of
from deepilc.experiment.store import Store
from tests.experiment.small import finish

ONE = ["experiment", "scratch", "--systems", "cartpole", "--variants", "VG-SAC", "--seeds", "0,"]
REQUEST = Request(["cartpole"], variants=["VG-SAC"], seeds=[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scrach"], "did you mean 'scratch'"),
        (["scratch", "--systems", "cartpol"], "unknown system"),
        (["scratch", "--seeds", "zero"], "--seeds is 'zero'"),
        (["scratch", "--seeds", "0"], "--seeds is '0'"),
        (["scratch", "--variants", "SAC;PPO"], "there is no variant 'PPO'"),
        (["scratch", "--systems", ","], "--systems is ','"),
        (["scratch", "--parameters", ""], "--parameters is ''"),
        (["scratch", "--variants", ";"], "--variants is ';'"),
        (["scratch", "--set", "seeds"], "no value"),
        (["scratch", "--set", "agent.critic_hiden=3"], "did you mean 'critic_hidden'"),
        (["scratch", "--add", "no settings"], "LABEL: KEY=VALUE"),
        (["scratch", "--budget", "0"], "budget"),
        (["ablation", "--preset", "papr"], "did you mean 'paper'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["experiment", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists(), "nothing was made"


def test_without_a_name_the_experiments_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["experiment"]) == 0
    shown = capsys.readouterr().out
    for name in ("scratch", "finetune", "finite-difference", "ablation", "ilc"):
        assert name in shown


def test_the_list_shows_what_is_finished_and_makes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = Store(tmp_path / "out")
    arguments = [*ONE, "--out", str(store.root), "--list"]
    assert run(arguments) == 0
    assert "0 of 3 runs are finished" in capsys.readouterr().out
    assert not store.root.exists()
    cells = cells_of("scratch", REQUEST)
    finish(store, cells[0])
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["finished", "missing", "missing", "1"]
    assert cells[0].name in lines[0]


def test_a_run_that_fails_gives_exit_code_1_and_the_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = Store(tmp_path)
    *pilots, cell = cells_of("scratch", REQUEST)
    finish(store, *pilots)
    folder = store.run(cell)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "checkpoints" / "latest.safetensors").write_text("not a checkpoint")
    assert run([*ONE, "--out", str(store.root)]) == 1
    shown = capsys.readouterr()
    assert "1 runs failed" in shown.err
    assert "checkpoint" in shown.err and cell.name in shown.err
    assert (store.root / "scratch" / "curves.csv").read_text().count("\n") == 3, "the pilots"


def test_an_experiment_that_is_finished_runs_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, *cells_of("scratch", REQUEST))
    assert run([*ONE, "--out", str(store.root)]) == 0
    assert list((store.root / "logs").iterdir()) == []
    rows = (store.root / "scratch" / "curves.csv").read_text().splitlines()
    assert rows[1] == "cartpole,real,SAC,scratch,1000,1,0,10,1.0,-1.000,0.500,2"
    assert [row.split(",")[4] for row in rows[1:]] == ["1000", "1001", "0"]


@pytest.mark.parametrize("form", ["--out {}", "--out={}"])
def test_files_for_others_hold_no_paths_of_this_machine(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "out")
    model = tmp_path / "model.yaml"
    model.write_text("base: nominal\n")
    settings = ["--set", f"nominal={model}", "--ray", "10.1.2.3:6379"]
    request = replace(REQUEST, settings={"nominal": str(model)})
    finish(store, *cells_of("scratch", request))
    arguments = [*ONE, *settings[:2], *form.format(store.root).split(" ")]
    monkeypatch.setattr("sys.argv", [str(tmp_path / "bin" / "deepilc"), *arguments, *settings[2:]])
    assert run(arguments) == 0
    for file in ("experiment.json", "curves.csv"):
        text = (store.root / "scratch" / file).read_text()
        assert str(tmp_path) not in text and "10.1.2.3" not in text
    command = json.loads((store.root / "scratch" / "experiment.json").read_text())["command"]
    assert command == "deepilc " + " ".join(ONE) + " --set nominal=model.yaml"


@pytest.mark.parametrize(("budget", "none"), [("3000", False), ("2999", True)])
def test_kept_runs_that_are_none_of_those_asked_for_are_pointed_out(
    budget: str, none: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Path(__file__).resolve().parents[2] / "results" / "scratch"
    arguments = ["scratch", "--list", "--systems", "cartpole", "--budget", budget]
    assert run(["experiment", *arguments, "--known", str(kept), "--out", str(tmp_path)]) == 0
    assert ("none of them is one of the runs" in capsys.readouterr().err) == none

"""Files that cannot be trusted are refused in one line; what is in them is read as it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepilc.cli.app import run
from deepilc.errors import UserError
from deepilc.report.curves import read
from tests.report.files import pilots, rows, write


@pytest.fixture
def refused(capsys, tmp_path):
    """Reports on a folder that must be refused; returns the line and proves nothing was written."""

    def call(*arguments: str, folder: Path = tmp_path / "x") -> str:
        before = sorted(folder.rglob("*")) if folder.exists() else []
        assert run(["report", str(folder), *arguments]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ")
        assert (sorted(folder.rglob("*")) if folder.exists() else []) == before
        return lines[0]

    return call


def test_runs_are_told_apart_and_kept_in_the_order_of_the_file(tmp_path) -> None:
    lines = [*pilots(), *rows("VG-SAC", 1, [10, 50, 90]), *rows("SAC", 1, [20, 30])]
    lines += rows("VG pre", 1, [1, 2, 3], parameters="nominal", stage="pretrain")
    experiment = read(write(tmp_path / "x", lines))
    assert experiment.worlds == [("cartpole", "real")]
    assert experiment.variants == ["VG-SAC", "SAC"]
    assert [run.seed for run in experiment.pilots(("cartpole", "real"))] == [1000, 1001]
    assert [run.variant for run in experiment.pretraining()] == ["VG pre"]
    (vg,) = experiment.tests(variant="VG-SAC")
    np.testing.assert_array_equal(vg.transitions, [0, 100, 200])
    np.testing.assert_array_equal(vg.returns, [10, 50, 90])
    np.testing.assert_array_equal(vg.evaluation_transitions, [20, 40, 60])
    np.testing.assert_array_equal(vg.seconds, [2, 4, 6])


def test_a_return_is_that_of_the_nearest_evaluation_and_none_beyond_the_end(tmp_path) -> None:
    experiment = read(write(tmp_path / "x", rows("SAC", 0, [5, 6, 7])))  # at 0, 100, 200
    (found,) = experiment.runs
    assert [found.return_at(t) for t in (0, 40, 60, 200, 300)] == [5, 5, 6, 7, 7]
    assert found.return_at(301) is None


def test_a_folder_without_curves_is_refused(refused, tmp_path) -> None:
    assert "curves.csv" in refused() and "deepilc experiment" in refused()


def test_a_folder_without_a_description_is_refused(refused, tmp_path) -> None:
    (write(tmp_path / "x", pilots()) / "experiment.json").unlink()
    assert "experiment.json" in refused()


def test_a_description_that_is_no_json_is_refused(refused, tmp_path) -> None:
    (write(tmp_path / "x", pilots()) / "experiment.json").write_text('{"a": ')
    assert "not JSON" in refused()


def test_missing_columns_are_named(refused, tmp_path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "curves.csv").write_text("system,seed,transitions,return\ncartpole,0,0,1.0\n")
    assert "no column parameters, variant, stage, pilot" in refused()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-12] + "\n", "is torn"),
        (lambda text: text.replace(",50,", ",fifty,"), "'fifty'"),
        (lambda text: text.replace(",50,", ",nan,"), "not finite"),
        (lambda text: text.replace("scratch", "scrath"), "stage is 'scrath'"),
        (lambda text: text + text.splitlines()[-1] + "\n", "must rise"),
    ],
)
def test_damaged_rows_are_refused_with_their_line(refused, tmp_path, damage, words) -> None:
    file = write(tmp_path / "x", rows("SAC", 0, [10, 50, 90])) / "curves.csv"
    file.write_text(damage(file.read_text()))
    message = refused()
    assert words in message and "line " in message


def test_only_pilots_are_not_an_experiment_yet(refused, tmp_path) -> None:
    write(tmp_path / "x", pilots())
    assert "no test run" in refused()


def test_one_name_for_two_things_is_refused(tmp_path) -> None:
    lines = [*rows("SAC", 0, [1, 2]), *rows("SAC", 0, [1, 2], stage="finetune")]
    with pytest.raises(UserError, match="names that differ"):
        read(write(tmp_path / "x", lines))


@pytest.mark.parametrize("option", ["--level", "--reference"])
def test_an_unknown_world_is_refused_with_those_that_there_are(refused, tmp_path, option) -> None:
    write(tmp_path / "x", [*pilots(), *rows("SAC", 0, [1, 2])])
    message = refused(option, "cartpol:real:75")
    assert "cartpol:real" in message and "did you mean 'cartpole:real'" in message


@pytest.mark.parametrize("text", ["75", "cartpole:75", "cartpole:real:high", "cartpole:real:nan"])
def test_a_level_that_cannot_be_read_is_refused(refused, tmp_path, text) -> None:
    write(tmp_path / "x", [*pilots(), *rows("SAC", 0, [1, 2])])
    assert "SYSTEM:SET:RETURN" in refused("--level", text)


def test_an_unknown_baseline_is_refused(refused, tmp_path) -> None:
    write(tmp_path / "x", [*pilots(), *rows("SAC", 0, [1, 2])])
    assert "did you mean 'SAC'" in refused("--baseline", "SACC")


def test_an_output_that_is_a_file_is_refused(refused, tmp_path) -> None:
    write(tmp_path / "x", [*pilots(), *rows("SAC", 0, [1, 2])])
    (tmp_path / "file").write_text("")
    assert "not a folder" in refused("--out", str(tmp_path / "file"))


def test_a_list_as_description_is_refused(refused, tmp_path) -> None:
    (write(tmp_path / "x", pilots()) / "experiment.json").write_text(json.dumps([1]))
    assert "not an object" in refused()

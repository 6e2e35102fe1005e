"""The two files of an experiment: joined by several processes, from runs of several machines."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from deepilc.errors import UserError
from deepilc.experiment.cell import Cell
from deepilc.experiment.join import join
from deepilc.experiment.store import Store
from deepilc.run import circumstances
from deepilc.table import read_rows
from tests.experiment.small import POINT, PRE, VG, finish


def test_processes_that_join_the_same_experiment_lose_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cells = [replace(VG, seed=seed) for seed in range(8)]
    finish(store, *cells)
    errors: list[Exception] = []

    def one_by_one(own: list[Cell]) -> None:
        try:
            for cell in own * 5:
                join(store, "small", [cell], "small")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one_by_one, args=(cells[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    rows = read_rows(tmp_path / "small" / "curves.csv")
    assert sorted(row["seed"] for row in rows) == [str(seed) for seed in range(8)]


def test_runs_of_different_machines_name_all_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    for seed, processor, torch in ((0, "A", "2.1"), (1, "B", "2.1"), (2, "A", "2.2")):
        about = circumstances()
        about["machine"] = {"processor": processor, "cores": 2}
        about["packages"] = {"torch": torch, "mujoco": None}
        store.save(replace(VG, seed=seed), [POINT], about)
    folder = join(store, "small", [replace(VG, seed=seed) for seed in range(3)], "small")
    content = json.loads((folder / "experiment.json").read_text())
    assert content["machine"] == {"processor": "A, B", "cores": 2}
    packages = content["packages"]
    assert packages["torch"] == "2.1, 2.2" and packages["mujoco"] is None


@pytest.mark.parametrize("damage", ["", "[]", '{"cel'])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    finish(store, VG, PRE)
    folder = join(store, "small", [VG, PRE], "small")
    about = (folder / "experiment.json").read_text()
    for file in (folder / "experiment.json", store.about(VG)):
        content = file.read_text()
        file.write_text(damage)
        with pytest.raises(UserError, match=f"{file.name} is missing or damaged; remove it"):
            join(store, "small", [VG, PRE], "small")
        file.write_text(content)
    store.curve(VG).write_text("transitions,seconds\n")
    with pytest.raises(UserError, match="has no rows; remove it"):
        join(store, "small", [VG, PRE], "small")
    assert (folder / "experiment.json").read_text() == about, "nothing was lost"

"""Real small experiments: killed, interrupted, failing, shared; what is finished never repeats."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil
import pytest

from deepilc.evaluate import evaluate
from deepilc.experiment.cell import Cell
from deepilc.experiment.join import join
from deepilc.experiment.progress import ExperimentProgress
from deepilc.experiment.run import run
from deepilc.experiment.schedule import run_missing
from deepilc.experiment.store import Store
from deepilc.policy import Policy
from deepilc.table import read_rows
from sims import registry
from tests.experiment.small import FINE, PRE, finish, start

CELLS = [PRE, FINE]


def go(store: Store, cells: list[Cell]) -> dict[str, str]:
    return run(store, "small", cells, command="small", workers=2)


def curve(store: Store, cell: Cell) -> list[list[str]]:
    """Everything but the seconds."""
    rows = read_rows(store.curve(cell))
    return [[value for key, value in row.items() if key != "seconds"] for row in rows]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300.0  # slow machines
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def workers_in(root: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if "deepilc.experiment.work" in command and str(root) in command:
            found.append(process.pid)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("uninterrupted"))
    assert go(store, CELLS) == {}
    return store


def test_a_finished_experiment_holds_the_curves_of_its_runs(uninterrupted: Store) -> None:
    rows = read_rows(uninterrupted.root / "small" / "curves.csv")
    fine = [row for row in rows if row["stage"] == "finetune"]
    episodes = read_rows(uninterrupted.run(FINE) / "episodes.csv")
    evaluated = [row for row in episodes if row["mode"] == "eval"]
    assert [(row["system"], row["variant"], row["seed"]) for row in fine] == [
        ("rexquadrotor", "VG pre / VG fine", "3")
    ] * len(fine)
    assert len(evaluated) == 2 * len(fine), "two start states each"
    pairs = zip(evaluated[::2], evaluated[1::2], strict=True)
    for row, pair in zip(fine, pairs, strict=True):
        returns = [float(episode["return"]) for episode in pair]
        assert {episode["transitions"] for episode in pair} == {row["transitions"]}
        assert float(row["return"]) == pytest.approx(sum(returns) / 2, abs=1e-3)
        spread = abs(returns[0] - returns[1]) / 2**0.5
        assert float(row["return_sd"]) == pytest.approx(spread, abs=1e-3)
    spent = sum(int(row["steps"]) for row in evaluated)
    assert int(fine[-1]["evaluation_transitions"]) == spent
    seconds = [float(row["seconds"]) for row in fine]
    assert seconds == sorted(seconds) and seconds[-1] > 0.0


def test_fine_tuning_starts_where_pre_training_was_best(uninterrupted: Store) -> None:
    system = registry.get(FINE.system)
    best = Policy.load((uninterrupted.run(PRE) / "policies" / "best.onnx").read_bytes(), system)
    returns = evaluate(best, system, FINE.parameters, FINE.episodes)
    zero_shot = float(read_rows(uninterrupted.curve(FINE))[0]["return"])
    assert zero_shot == pytest.approx(returns.mean(), rel=1e-4)


def test_after_kill_9_no_worker_is_left_and_the_rest_gives_the_same_curves(
    tmp_path: Path, uninterrupted: Store
) -> None:
    store = Store(tmp_path)
    parent = start(store.root, CELLS)
    checkpoint = store.run(FINE) / "checkpoints" / "latest.safetensors"
    wait_for(checkpoint.exists)
    parent.kill()
    parent.wait()
    wait_for(lambda: not workers_in(store.root))
    assert store.finished(PRE) and not store.finished(FINE)
    before = os.stat(store.curve(PRE)), os.stat(store.run(PRE) / "episodes.csv")
    assert go(store, CELLS) == {}
    assert before == (os.stat(store.curve(PRE)), os.stat(store.run(PRE) / "episodes.csv"))
    for cell in CELLS:
        assert curve(store, cell) == curve(uninterrupted, cell)


def test_ctrl_c_lets_the_runs_save_and_ends_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    long = dataclasses.replace(PRE, budget=100_000)
    store.prepare()
    parent = start(store.root, [long])
    episodes = store.run(long) / "episodes.csv"
    wait_for(lambda: len(read_rows(episodes)) > 6)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(60) != 0
    assert not workers_in(store.root)
    assert not store.finished(long)
    saved = (store.run(long) / "checkpoints" / "latest.safetensors").stat().st_mtime
    assert saved >= episodes.stat().st_mtime, "saved after the last episode"


def test_a_run_that_fails_is_reported_and_stops_only_those_that_start_from_it(
    uninterrupted: Store,
) -> None:
    # networks of another size do not fit those that pre-training left
    misfit = dataclasses.replace(
        FINE, budget=100, overrides=(*FINE.overrides, ("agent.critic_hidden", 24))
    )
    after = dataclasses.replace(FINE, budget=100, initial=misfit)
    good = dataclasses.replace(FINE, budget=100)
    failures = go(uninterrupted, [misfit, after, good])
    assert set(failures) == {misfit.name, after.name}
    assert "critic" in failures[misfit.name] or "size" in failures[misfit.name]
    assert "failed" in failures[after.name]
    assert uninterrupted.finished(good)


def test_a_run_that_another_process_holds_is_left_to_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    held = store.hold(PRE)
    assert held is not None
    assert store.hold(PRE) is None

    def other() -> None:
        time.sleep(1.0)
        finish(store, PRE)
        best = store.best(PRE)
        best.parent.mkdir(parents=True)
        best.touch()
        held.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert go(store, [PRE]) == {}
    thread.join()
    assert not store.log(PRE).exists(), "nothing was started here"


def test_pre_training_whose_networks_are_gone_runs_again_for_those_that_need_it(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    finish(store, PRE)
    assert store.missing([PRE]) == [], "its curve is there"
    assert store.missing([PRE, FINE]) == [PRE, FINE]
    finish(store, FINE)
    assert store.missing([PRE, FINE]) == []


class Slowly:
    """Where cells take a while, and leave networks long before their end."""

    slots = 2

    def __init__(self, store: Store) -> None:
        self.store, self.log = store, []

    def start(self, cell: Cell, lock: IO[bytes]) -> "Slowly.Job":
        self.log.append(f"{cell.stage} begins")
        self.store.best(cell).parent.mkdir(parents=True)
        self.store.best(cell).touch()
        return self.Job(self, cell)

    def stop(self) -> None:
        """Nothing runs."""

    class Job:
        def __init__(self, place: "Slowly", cell: Cell) -> None:
            self.place, self.cell, self.asked = place, cell, 0

        def outcome(self) -> str | None:
            self.asked += 1
            if self.asked < 5:
                return None
            finish(self.place.store, self.cell)
            self.place.log.append(f"{self.cell.stage} ends")
            return ""


def test_who_starts_from_a_run_that_is_made_again_waits_until_it_is_done(tmp_path: Path) -> None:
    """Its old curve is there at first, and its networks long before its end."""
    store = Store(tmp_path)
    finish(store, PRE)
    place = Slowly(store)
    with ExperimentProgress(store, CELLS) as progress:
        assert run_missing(store, CELLS, place, progress) == {}
    assert place.log == ["pretrain begins", "pretrain ends", "finetune begins", "finetune ends"]


def test_joining_keeps_earlier_runs_but_none_of_the_same_line_with_other_settings(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    other_line = dataclasses.replace(PRE, variant="other", budget=400)
    other_seed = dataclasses.replace(PRE, seed=4)
    changed = dataclasses.replace(PRE, budget=350)
    finish(store, PRE, other_line, other_seed, changed)

    def joined(*cells: Cell) -> set[tuple[str, str]]:
        folder = join(store, "small", cells, f"command {len(cells)}")
        return {(row["variant"], row["seed"]) for row in read_rows(folder / "curves.csv")}

    assert joined(PRE) == {("VG pre", "3")}
    assert joined(other_line, other_seed) == {("VG pre", "3"), ("VG pre", "4"), ("other", "3")}
    assert joined(changed) == {("VG pre", "3"), ("other", "3")}, "seed 4 had other settings"

"""A run folder: never reused by accident, and its CSV files survive a crash."""

import json
import os
import signal

import numpy as np
import pytest
import yaml

from deepilc.errors import UserError
from deepilc.run import RunFolder, revision, write_atomic
from deepilc.table import Table, read_rows


def episode(number: int, transitions: int, mode: str = "train") -> dict:
    return {"episode": number, "mode": mode, "return": 1.5 * number, "transitions": transitions}


def test_a_new_folder_explains_itself(tmp_path):
    config = {"system": "rexquadrotor", "seed": 3, "agent": {"alpha": 0.2}}
    run = RunFolder.create(tmp_path / "a", config=config, about={"initial": "x"})
    assert yaml.safe_load((run.path / "config.yaml").read_text()) == config == run.read_config()
    about = json.loads((run.path / "run.json").read_text())
    assert about["git_sha"] == revision()["git_sha"]
    assert about["initial"] == "x" and about["machine"]["cores"] >= 1
    assert set(about) >= {"started", "command", "git_dirty", "python", "packages"}
    readme = (run.path / "README.txt").read_text()
    made = {p.name for p in run.path.iterdir()} - {"README.txt"}
    assert all(name in readme for name in made)


def test_an_existing_folder_is_never_used_again(tmp_path):
    run = RunFolder.create(tmp_path / "a", config={"seed": 1})
    before = {p: p.read_bytes() for p in run.path.iterdir() if p.is_file()}
    with pytest.raises(UserError, match=r"exists and is not empty.*--resume.*--out"):
        RunFolder.create(tmp_path / "a", config={"seed": 2})
    assert {p: p.read_bytes() for p in run.path.iterdir() if p.is_file()} == before


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "a").mkdir()
    assert RunFolder.create(tmp_path / "a").name == "a"


def test_a_file_in_the_way_is_a_clear_error(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UserError, match="cannot make run folder"):
        RunFolder.create(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "mine"


def test_two_runs_started_in_the_same_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {RunFolder.create(name="train").name for _ in range(5)}
    assert len(names) == 5


def test_only_run_folders_are_resumed(tmp_path):
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.resume(tmp_path)
    made = RunFolder.create(tmp_path / "a")
    assert RunFolder.resume(tmp_path / "a").path == made.path


def test_a_folder_of_several_runs_asks_for_one(tmp_path):
    RunFolder.create(tmp_path / "a" / "pretrain")
    RunFolder.create(tmp_path / "a" / "finetune")
    with pytest.raises(UserError, match="give one of them: finetune, pretrain"):
        RunFolder.resume(tmp_path / "a")


def test_rows_beyond_the_checkpoint_are_dropped_on_resume(tmp_path):
    with RunFolder.create(tmp_path / "a") as run:
        for number in range(5):
            run.add_episode(episode(number, 100 * (number + 1)))
        run.add_episode(episode(5, 500, mode="eval"))
        for transitions in (100, 300, 500):
            run.add_metrics({"transitions": transitions, "loss": np.float32(0.25)})
    again = RunFolder.resume(tmp_path / "a")
    again.rewind({"": 3}, 300)
    with again:
        again.add_episode(episode(3, 400))
        again.add_metrics({"transitions": 400, "loss": 0.5})
    rows = read_rows(again.path / "episodes.csv")
    assert [row["episode"] for row in rows] == ["0", "1", "2", "3"]
    metrics = read_rows(again.path / "metrics.csv")
    assert [(row["transitions"], row["loss"]) for row in metrics] == [
        ("100", "0.25"),
        ("300", "0.25"),
        ("400", "0.5"),
    ]


@pytest.mark.parametrize("torn", ["3,tra", '3,"tra', "3,train,4.5,40", "\0\0\0"])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    file = tmp_path / "episodes.csv"
    table = Table(file)
    for number in range(3):
        table.append(episode(number, number))
    table.close()
    with file.open("a") as handle:
        handle.write(torn)
    assert len(read_rows(file)) == 3
    again = Table(file)
    again.append(episode(3, 3))
    again.close()
    assert [row["episode"] for row in read_rows(file)] == ["0", "1", "2", "3"]
    assert file.read_text().count("\n") == 5


def test_a_column_that_appears_late_is_empty_before(tmp_path):
    table = Table(tmp_path / "m.csv")
    table.append({"transitions": 1, "loss": 0.5})
    table.append({"transitions": 2, "loss": 0.25, "alpha": 0.1})
    table.append({"transitions": 3})
    table.close()
    assert (tmp_path / "m.csv").read_text() == ("transitions,loss,alpha\n1,0.5,\n2,0.25,0.1\n3,,\n")


def test_text_with_commas_and_quotes_comes_back(tmp_path):
    table = Table(tmp_path / "m.csv")
    table.append({"transitions": 1, "reason": 'rate: "rotor1", 3'})
    table.close()
    assert read_rows(tmp_path / "m.csv")[0]["reason"] == 'rate: "rotor1", 3'


def test_a_killed_writer_leaves_whole_rows(tmp_path):
    """SIGKILL a process while it writes rows; those that are there are complete and in order."""
    file = tmp_path / "m.csv"
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        table = Table(file)
        for number in range(10**9):
            table.append({"transitions": number, "loss": number / 3})
            if number == 500:
                os.write(write, b"x")
    os.read(read, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    rows = read_rows(file)
    assert len(rows) > 500
    assert [int(row["transitions"]) for row in rows] == list(range(len(rows)))


def test_tensorboard_gets_the_same_scalars(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunFolder.create(tmp_path / "a") as run:
        run.add_episode(episode(1, 100))
        run.add_episode(episode(2, 100, mode="eval"))
        run.add_metrics({"transitions": 100, "loss/critic_1": np.float32(0.5)})
    events = accumulators.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == [
        "loss/critic_1",
        "return/evaluation",
        "return/train",
    ]
    scalar = events.Scalars("loss/critic_1")[0]
    assert (scalar.step, scalar.value) == (100, 0.5)


def test_policies_are_replaced_whole(tmp_path):
    run = RunFolder.create(tmp_path / "a")
    run.save_policy(b"one", 1, keep=True)
    run.save_policy(b"two", 2)
    assert run.policy.read_bytes() == b"two"
    assert [p.name for p in sorted(run.policy.parent.iterdir())] == ["000001.onnx", "latest.onnx"]


def test_an_atomic_write_into_a_missing_folder_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        write_atomic(tmp_path / "none" / "x", "y")

"""Learning from bags alone: the rows, the checkpoint and its continuation, the report."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from deepilc import checkpoint
from deepilc import config as configuration
from deepilc.bags import offline
from deepilc.bags.coverage import coverage, thin
from deepilc.bags.dataset import Dataset
from deepilc.bags.transitions import load
from deepilc.cli.app import run as command
from deepilc.errors import UserError
from deepilc.intake import Joined
from deepilc.learner import Learner
from deepilc.run import RunFolder
from deepilc.transition import Mode
from tests.bags.writing import SYSTEM, all_serialized, changed, flight, record

SMALL = ["agent.critic_hidden=16", "agent.actor_hidden=16", "batch_size=32"]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = flight(episodes=20)
    rows = changed(changed(rows, 31, mode=Mode.EVAL), 100, excluded="late")
    return record(tmp_path_factory.mktemp("bag"), all_serialized(rows))


@pytest.fixture(scope="module")
def dataset(bag: Path) -> Dataset:
    return load([bag], SYSTEM)


def settings(*more: str) -> configuration.TrainConfig:
    return configuration.load(overrides=[*SMALL, *more], base=offline.BASE)


def options() -> list[str]:
    return [part for setting in SMALL for part in ("--set", setting)]


@pytest.mark.parametrize("capacity", [1000, 100_000])
def test_rows_taken_at_once_are_those_taken_one_by_one(
    capacity: int, dataset: Dataset, tmp_path: Path
) -> None:
    config = settings(f"replay_capacity={capacity}")
    at_once = offline.fill(config, RunFolder.create(tmp_path / "run"), dataset)
    one_by_one = Learner(config, "run", lockstep=False)
    model = SYSTEM.model(config.nominal_parameters)
    for t in dataset.transitions():
        row = model.linearize(t.state, t.action_applied, t.next_state)
        one_by_one.add(Joined(t, row))
    there, here = at_once.replay.state_dict(), one_by_one.replay.state_dict()
    assert [key for key in here if not torch.equal(here[key], there[key])] == []
    assert at_once.progress == one_by_one.progress
    assert at_once.invalid_jacobians == one_by_one.invalid_jacobians
    for steps in (1, 3):  # which rows follow each other is known too
        batches = [
            learner.replay.sample(64, steps=steps, discount=0.9)
            for learner in (at_once, one_by_one)
        ]
        assert torch.equal(batches[0].reward, batches[1].reward)


def test_ring_that_wraps_holds_the_newest_rows() -> None:
    from deepilc.replay import Replay

    replay = Replay(2, 1, capacity=10)
    count = 3 * replay.slots + 7
    numbers = np.arange(count, dtype=np.float32)
    keys = np.stack([np.arange(count), np.zeros(count), np.arange(count)], 1).astype(np.int64)
    state_action = np.stack([numbers] * 3, 1)
    replay.add_rows(state_action, numbers, state_action[:, :2], numbers < 0, keys)
    assert replay.added == count
    assert replay.keys(count - 1) == (count - 1, 0, count - 1)
    newest = replay.rows(torch.tensor([count - 1])).reward
    assert newest.item() == count - 1
    assert (replay.sample(100).reward >= count - 10).all()


def test_command_leaves_a_run_that_goes_on_online(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["replay", str(bag), "--updates", "60", "--out", "offline", *options()]
    assert command(arguments) == 0
    folder = RunFolder.resume("offline")
    report = (folder.path / "replay.md").read_text()
    for words in (
        "| 1 | evaluation, never learned from |",
        "| 1 | excluded by the bridge |",
        "## Coverage",
        "60 updates",
        "**The data is thin.**",
    ):
        assert words in report
    assert (folder.path / "replay.png").stat().st_size > 10_000
    tensors, metadata = checkpoint.load(folder.checkpoint, SYSTEM)
    assert len(tensors["replay.rows"]) == 598 and metadata["updates"] == 60
    assert metadata["config"]["agent"]["behaviour_weight"] == 0.4
    command_line = ["finetune", "--from", "offline", "--transitions", "40", "--out", "online"]
    assert command([*command_line, "--set", "evaluation_episodes=0"]) == 0
    tuned = RunFolder.resume("online").read_config()
    assert tuned["agent"]["behaviour_weight"] == 0.0  # online somebody tries it out
    assert tuned["agent"]["critic_hidden"] == 16


def test_bag_of_our_own_recorder_knows_its_system_and_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepilc.bags.recording import recorded_settings

    monkeypatch.chdir(tmp_path)
    bag = record(tmp_path, all_serialized(flight()))
    assert recorded_settings([bag]) == {}
    manifest = bag / "manifest.json"
    manifest.write_text('{"parameters": {"system": "cartpole", "parameters": "real", "seed": 4}}')
    wanted = {"system": "cartpole", "parameters": "real"}
    assert recorded_settings([bag]) == wanted == recorded_settings([bag / "000000"])
    assert command(["replay", str(bag), "--check"]) == 2  # they are quadrotor's, after all
    assert command(["replay", str(bag), "--check", "--system", "rexquadrotor"]) == 0
    assert not (tmp_path / "runs").exists()


def test_interrupted_replay_goes_on_bit_equal(dataset: Dataset, tmp_path: Path) -> None:
    config = settings()
    whole = offline.fill(config, RunFolder.create(tmp_path / "run"), dataset)
    offline.learn(whole, RunFolder.resume(tmp_path / "run"), 300)
    (tmp_path / "cut").mkdir()
    folder = RunFolder.create(tmp_path / "cut" / "run")

    def interrupt(done: int, total: int) -> None:
        if done > 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        offline.learn(offline.fill(config, folder, dataset), folder, 300, interrupt)
    again = Learner.resume(folder.checkpoint, lockstep=False)
    assert 1 < again.updates < 300
    offline.learn(again, folder, 300)
    ours, theirs = whole.agent.state_dict(), again.agent.state_dict()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def test_replay_that_was_killed_does_not_report_updates_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bag = record(tmp_path, all_serialized(flight()))
    small = ["--set", "agent.critic_hidden=16", "--set", "batch_size=16"]
    system = ["--system", "rexquadrotor"]
    assert command(["replay", str(bag), "--updates", "40", "--out", "run", *system, *small]) == 0
    metrics = tmp_path / "run" / "metrics.csv"
    header, *rows = metrics.read_text().splitlines()
    at = header.split(",").index("updates")
    later = rows[-1].split(",")
    later[at] = "60"  # reported before the kill, but after the last checkpoint
    metrics.write_text("\n".join([header, *rows, ",".join(later)]) + "\n")
    about = tmp_path / "run" / "run.json"
    about.write_text(about.read_text().replace('"updates": 40', '"updates": 80'))
    assert command(["replay", "--resume", "run"]) == 0
    updates = [int(row.split(",")[at]) for row in metrics.read_text().splitlines()[1:]]
    assert updates == sorted(set(updates)) and updates[-1] == 80


@pytest.mark.parametrize("setting", ["model.residual=true", "model.synthetic_share=0.5"])
def test_what_learns_as_rows_come_in_is_refused_offline(
    setting: str, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="offline none comes"):
        offline.fill(settings(setting), RunFolder.create(tmp_path / "run"), dataset)


def test_behaviour_weight_keeps_the_policy_near_the_recorded_actions(
    dataset: Dataset, tmp_path: Path
) -> None:
    distances = []
    for weight in (0.0, 5.0):
        config = settings(f"agent.behaviour_weight={weight}")
        run = RunFolder.create(tmp_path / str(weight))
        learner = offline.fill(config, run, dataset)
        offline.learn(learner, run, 400)
        acted = learner.agent.act(dataset.rows.state, np.zeros_like(dataset.rows.action))
        distances.append(np.abs(acted - dataset.rows.action).mean())
    assert distances[1] < 0.75 * distances[0]


def test_too_many_rows_for_the_replay_say_what_to_set(tmp_path: Path, bag: Path) -> None:
    many = record(tmp_path, all_serialized(flight(episodes=40)))
    arguments = ["replay", str(many), "--set", "replay_capacity=1000", "--out", str(tmp_path / "r")]
    assert command(arguments) == 2
    assert not (tmp_path / "r" / "run.json").exists()


def test_thin_data_is_called_so_with_the_reason(dataset: Dataset) -> None:
    rng = np.random.default_rng(0)
    rows = dataset.rows.take(rng.integers(0, len(dataset), 4000))
    rows.state[:] += rng.normal(size=rows.state.shape)
    assert thin(rows, coverage(rows, SYSTEM), SYSTEM) == []
    few = rows.take(np.arange(100))
    assert "100 rows for 16 coordinates" in thin(few, coverage(few, SYSTEM), SYSTEM)[0]
    rows.state[:, 2] = 0.5
    rows.action[:, 1] = 14.0 + rows.state[:, 0]
    still, bound = thin(rows, coverage(rows, SYSTEM), SYSTEM)
    assert "hardly any change in z" in still
    assert "rotor2 follows from the state" in bound

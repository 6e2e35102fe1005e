"""The in-process run: exact schedule, exact resume, honest files."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deepilc import checkpoint
from deepilc import config as configuration
from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc.evaluate import evaluate
from deepilc.learner import Learner
from deepilc.policy import Policy
from deepilc.run import RunFolder
from deepilc.table import read_rows
from deepilc.train import Status, train
from sims import registry
from tests.faults import Faults

SMALL = {
    "transitions": 300,
    "warmup_transitions": 60,
    "batch_size": 32,
    "learning_starts": 32,
    "updates_per_transition": 1.0,
    "evaluation_interval": 150,
    "evaluation_episodes": 1,
    "policy_interval": 20,
    "checkpoint_interval": 100,
    "seed": 3,
    "agent": {"critic_hidden": 16, "actor_hidden": 16},
}


def small(**changes: object) -> TrainConfig:
    return configuration.resolve({**SMALL, **changes})


def run_folder(path: Path, config: TrainConfig) -> RunFolder:
    return RunFolder.create(path, config=config.model_dump(mode="json"))


def assert_same_checkpoint(left: Path, right: Path) -> None:
    ours, our_metadata = checkpoint.load(left)
    theirs, their_metadata = checkpoint.load(right)
    assert ours.keys() == theirs.keys()
    for name in ours:
        if name != "policy":  # holds the name of the run
            assert torch.equal(ours[name], theirs[name]), name
    for metadata in (our_metadata, their_metadata):
        del metadata["run"]
    assert our_metadata == their_metadata


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = run_folder(tmp_path_factory.mktemp("train") / "uninterrupted", small())
    train(small(), run)
    run.close()
    return run


def test_a_run_makes_one_update_per_transition_after_the_first_batch(
    uninterrupted: RunFolder,
) -> None:
    _, metadata = checkpoint.load(uninterrupted.checkpoint)
    transitions = metadata["progress"]["train_transitions"]
    assert 300 <= transitions < 400, "the episode under way at 300 is finished"
    assert metadata["updates"] == transitions - 32
    assert metadata["without_jacobian"] == 0


def test_the_folder_holds_every_episode_and_a_policy_that_loads(uninterrupted: RunFolder) -> None:
    rows = read_rows(uninterrupted.path / "episodes.csv")
    modes = [row["mode"] for row in rows]
    assert modes[:2] == ["eval", "warmup"] and modes[-2:] == ["train", "eval"]
    assert modes.count("eval") == 3, "at 0, 150 and 300"
    assert sum(int(row["steps"]) for row in rows if row["mode"] != "eval") >= 300
    assert all(int(row["complete"]) for row in rows)
    policy = Policy.load(uninterrupted.policy, registry.get("rexquadrotor"))
    assert policy.version > 1
    assert np.isfinite(policy.act(np.zeros(12, np.float32))).all()


def test_an_interrupted_run_continues_bit_equal_even_within_an_episode(
    tmp_path: Path, uninterrupted: RunFolder
) -> None:
    run = run_folder(tmp_path / "resumed", small())
    interruptions = iter([110, 230])
    stop_at = next(interruptions)

    def interrupt(status: Status) -> None:
        nonlocal stop_at
        if status.transitions >= stop_at:
            stop_at = next(interruptions, 10**9)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(small(), run, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(small(), run, resume=True, progress=interrupt)
    train(small(), run, resume=True, progress=interrupt)
    run.close()
    assert_same_checkpoint(run.checkpoint, uninterrupted.checkpoint)
    ours = (run.path / "episodes.csv").read_text()
    assert ours == (uninterrupted.path / "episodes.csv").read_text()


@pytest.mark.parametrize(("asked", "threads"), [(None, "1"), ("2", "2")])
def test_torch_gets_one_thread_unless_the_environment_says_how_many(
    tmp_path: Path, asked: str | None, threads: str
) -> None:
    run_folder(tmp_path / "run", small(transitions=1, evaluation_episodes=0))
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from deepilc import config\n"
        "from deepilc.run import RunFolder\n"
        "from deepilc.train import train\n"
        "run = RunFolder.resume(Path(sys.argv[1]))\n"
        "train(config.resolve(run.read_config()), run)\n"
        "print(torch.get_num_threads())\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment |= {} if asked is None else {"OMP_NUM_THREADS": asked}
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == threads


@pytest.mark.promise(6)
def test_a_run_killed_at_a_random_point_resumes_and_ends_bit_equal(
    tmp_path: Path, uninterrupted: RunFolder, faults: Faults, fault_repetition: int
) -> None:
    path = tmp_path / "killed"
    point = int(faults.random.integers(101, 300))  # the first checkpoint is there
    run_folder(path, small())
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from deepilc import config\n"
        "from deepilc.run import RunFolder\n"
        "from deepilc.train import train\n"
        "run = RunFolder.resume(Path(sys.argv[1]))\n"
        "def kill(status):\n"
        "    if status.transitions >= int(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(config.resolve(run.read_config()), run, progress=kill)\n"
    )
    command = [sys.executable, "-c", program, str(path), str(point)]
    killed = subprocess.run(command, timeout=400, check=False)
    faults.tries("SIGKILL of a run in one process")
    assert killed.returncode == -signal.SIGKILL
    run = RunFolder.resume(path)
    train(small(), run, resume=True)
    run.close()
    assert_same_checkpoint(run.checkpoint, uninterrupted.checkpoint)


def test_plain_sac_asks_for_no_jacobians_and_learns_something_else(tmp_path: Path) -> None:
    config = small(agent={**SMALL["agent"], "value_gradient": False})
    run = run_folder(tmp_path / "sac", config)
    learner = train(config, run)
    assert learner.without_jacobian == 0
    assert learner.invalid_jacobians == 0


def test_fine_tuning_starts_from_the_networks_but_with_an_empty_replay(
    tmp_path: Path, uninterrupted: RunFolder
) -> None:
    config = small(transitions=40, warmup_transitions=0, evaluation_episodes=0)
    run = run_folder(tmp_path / "finetuned", config)
    learner = train(config, run, initial=uninterrupted.checkpoint)
    state = np.linspace(-1, 1, 12, dtype=np.float32)
    system = registry.get("rexquadrotor")
    first = Policy.load(run.path / "policies" / "000001.onnx", system).act(state)
    np.testing.assert_array_equal(first, Policy.load(uninterrupted.policy, system).act(state))
    assert learner.progress.train_transitions < 300


def test_the_best_networks_are_those_of_the_evaluation_with_the_highest_mean_return(
    tmp_path: Path,
) -> None:
    config = small(evaluation_interval=100, evaluation_episodes=2, transitions=200)
    run = run_folder(tmp_path / "run", config)
    train(config, run)
    run.close()
    rows = read_rows(run.path / "episodes.csv")
    returns = np.array([float(row["return"]) for row in rows if row["mode"] == "eval"])
    means = returns.reshape(-1, 2).mean(1)
    assert len(means) == 3 and means.argmax() != len(means) - 1, "else latest would do as well"
    system = registry.get(config.system)
    best = Policy.load(run.policy.with_name("best.onnx"), system)
    assert evaluate(best, system, config.parameters, 2).mean() == pytest.approx(means.max())

    fine = small(transitions=100, warmup_transitions=0, evaluation_episodes=2)
    tuned = run_folder(tmp_path / "fine", fine)
    train(fine, tuned, initial=run.best)
    tuned.close()
    first = [float(row["return"]) for row in read_rows(tuned.path / "episodes.csv")][:2]
    assert np.mean(first) == pytest.approx(means.max()), "fine-tuning starts from them"


def test_a_run_ends_when_its_patience_is_at_an_end(tmp_path: Path) -> None:
    # steps too small for float32 leave every evaluation equal, so the first one stays the best
    still = {**SMALL["agent"], "actor_learning_rate": 1e-30, "critic_learning_rate": 1e-30}  # type: ignore[dict-item]
    config = small(transitions=2000, evaluation_interval=100, patience=2, agent=still)
    run = run_folder(tmp_path / "run", config)
    train(config, run)
    assert len(read_rows(run.path / "episodes.csv")) < 20, "of more than 20 that the plan has"
    evaluations = [row for row in read_rows(run.path / "episodes.csv") if row["mode"] == "eval"]
    assert len(evaluations) == 3, "the first one and two that were no better"
    before = (run.path / "episodes.csv").read_bytes()
    train(config, run, resume=True)
    run.close()
    assert (run.path / "episodes.csv").read_bytes() == before, "nothing is left to do"


def test_best_networks_that_could_not_be_written_are_written_on_resume(tmp_path: Path) -> None:
    # nothing moves, so that the first evaluation stays the best; a checkpoint after every episode
    still = {**SMALL["agent"], "actor_learning_rate": 1e-30, "critic_learning_rate": 1e-30}  # type: ignore[dict-item]
    plan = {"transitions": 100, "evaluation_interval": 100, "checkpoint_interval": 1}
    config = small(**plan, agent=still)
    run = run_folder(tmp_path / "run", config)
    in_the_way = run.best.with_name(f".{run.best.name}.tmp")
    in_the_way.mkdir()
    with pytest.raises(UserError, match=r"best\.safetensors"):
        train(config, run)
    in_the_way.rmdir()
    train(config, run, resume=run.has_checkpoint)
    run.close()
    assert run.best.exists()


def test_networks_alone_cannot_be_resumed_from(uninterrupted: RunFolder) -> None:
    with pytest.raises(UserError, match=r"networks only.*finetune --from"):
        Learner.resume(uninterrupted.best)

"""Runs that start from a policy: exactly from ours, by imitation from others, or not at all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from deepilc import config as configuration
from deepilc import nested
from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc.initial.imitation import imitate
from deepilc.initial.teacher import Teacher
from deepilc.learner import Learner
from deepilc.policy import Policy
from deepilc.run import RunFolder
from deepilc.train import train
from sims import registry

HERE = Path(__file__).resolve().parent
CARTPOLE = registry.get("cartpole")
SMALL: dict[str, Any] = {
    "system": "cartpole",
    "transitions": 60,
    "warmup_transitions": 0,
    "batch_size": 32,
    "updates_per_transition": 1.0,
    "evaluation_episodes": 0,
    "seed": 3,
    "agent": {"critic_hidden": 16, "actor_hidden": 32, "burn_in": 10},
    "imitation": {"states": 2000, "rounds": 2, "steps": 300},
}


def small(**changes: Any) -> TrainConfig:
    return configuration.resolve(nested.merged(SMALL, changes))


def initializers(content: bytes) -> dict[str, np.ndarray]:
    graph = onnx.load_model_from_string(content).graph
    return {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}


@pytest.mark.parametrize("kind", ["gaussian", "deterministic"])
def test_our_own_onnx_is_taken_over_to_the_last_bit(tmp_path: Path, kind: str) -> None:
    other = Learner(small(seed=8, agent={"policy": kind}), "other")
    file = tmp_path / "policy.onnx"
    file.write_bytes(other.policy)
    learner = Learner(small(agent={"policy": kind}), "run")
    critics = learner.agent.state_dict()["critic"]
    started = learner.start_from(file)
    assert started.exact and started.kind == "deepilc policy"
    theirs, ours = initializers(other.policy), initializers(learner.policy)
    assert theirs.keys() == ours.keys()
    assert all(np.array_equal(theirs[name], ours[name]) for name in ours)
    assert torch.equal(learner.agent.state_dict()["actor"], other.agent.state_dict()["actor"])
    assert torch.equal(learner.agent.state_dict()["critic"], critics), "critics are new"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent": {"actor_hidden": 48}}, r"width 32, .* 48; set agent\.actor_hidden to 32"),
        ({"agent": {"policy": "deterministic"}}, r"set agent\.policy to gaussian"),
        ({"agent": {"scaling": False}}, r"set agent\.scaling to true"),
        ({"system": "acrobot"}, r"does not fit system 'acrobot'"),
    ],
)
def test_our_onnx_for_other_settings_is_refused_with_the_setting_to_change(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = tmp_path / "policy.onnx"
    file.write_bytes(Learner(small(), "other").policy)
    with pytest.raises(UserError, match=message):
        Learner(small(**changes), "run").start_from(file)


def test_our_onnx_with_a_weight_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(Learner(small(), "other").policy)
    for entry in model.graph.initializer:
        if entry.name == "hidden_0_weight":  # ReLU of NaN may be 0, so that no action shows it
            array = numpy_helper.to_array(entry).copy()
            array[0, 0] = np.nan
            entry.CopyFrom(numpy_helper.from_array(array, entry.name))
    file = tmp_path / "policy.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="not finite"):
        Learner(small(), "run").start_from(file)


def test_a_checkpoint_of_rsl_rl_is_imitated_measured_and_repeated_bit_by_bit() -> None:
    file = HERE / "rsl_rl" / "5.5.1.pt"
    config = small(imitation={"actions": "scaled", "steps": 800})
    learner = Learner(config, "run")
    critics = learner.agent.state_dict()["critic"]
    started = learner.start_from(file)
    assert not started.exact and started.imitation is not None
    assert started.imitation.action_error < 0.05
    assert started.imitation.parameters == "nominal"
    expected = np.load(HERE / "rsl_rl" / "5.5.1.npz")
    policy = Policy.load(learner.policy, CARTPOLE)
    state = CARTPOLE.reset(np.random.default_rng(5), "nominal", 64)
    spread = policy.act(state, np.ones((64, 1), np.float32)) - policy.act(state)
    assert 0.0 < np.median(spread / CARTPOLE.action.scale) < 0.11, "modest noise: std 0.1"
    assert expected["actions"].shape == (16, 1)
    assert torch.equal(learner.agent.state_dict()["critic"], critics)
    again = Learner(config, "run")
    again.start_from(file)
    assert again.policy == learner.policy


@pytest.mark.parametrize("name", ["SAC", "PPO"])
def test_a_model_of_stable_baselines_is_imitated(
    tmp_path: Path, models: dict[str, tuple[Any, bytes]], name: str
) -> None:
    model, content = models[name]
    file = tmp_path / f"{name}.zip"
    file.write_bytes(content)
    learner = Learner(small(imitation={"steps": 800}), "run")
    started = learner.start_from(file)
    assert started.imitation is not None and started.imitation.action_error < 0.03
    state = CARTPOLE.reset(np.random.default_rng(5), "nominal", 64)
    theirs = model.predict(state, deterministic=True)[0]
    ours = Policy.load(learner.policy, CARTPOLE).act(state)
    error = (ours - theirs) / CARTPOLE.action.scale
    assert float(np.sqrt(np.mean(error**2))) < 0.05


def test_what_is_clearly_not_the_teacher_is_refused_with_the_numbers() -> None:
    learner = Learner(small(imitation={"steps": 1, "rounds": 1}), "run")
    before = learner.agent.state_dict()

    def saws(states: np.ndarray) -> np.ndarray:
        """Changes its sign too often for a network that learns one step."""
        return (40.0 * np.sign(np.sin(50.0 * states[:, 1:2]))).astype(np.float32)

    teacher = Teacher("a saw", (), saws)
    with pytest.raises(UserError, match=r"differ by \d\.\d+ half ranges .* allowed 0\.1.* return"):
        imitate(learner.agent, teacher, learner.config, CARTPOLE, "policy saw")
    after = learner.agent.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in ("actor", "policy"))


def test_the_run_folder_tells_what_was_imported_and_the_burn_in_keeps_it(tmp_path: Path) -> None:
    config = small(imitation={"actions": "scaled"}, agent={"burn_in": 1000})
    run = RunFolder.create(tmp_path / "run", config=config.model_dump(mode="json"))
    lines: list[str] = []
    learner = train(config, run, initial=HERE / "rsl_rl" / "3.3.0.pt", report=lines.append)
    run.close()
    record = json.loads((run.path / "initial.json").read_text())
    assert record["kind"] == "rsl_rl checkpoint" and not record["exact"]
    assert record["imitation"]["action_error"] < 0.1
    assert "its activation is elu" in record["assumptions"]
    assert "imitates" in lines[0] and "half ranges" in lines[1]
    assert learner.updates > 20
    first, last = (run.path / "policies" / name for name in ("000001.onnx", "latest.onnx"))
    ours, theirs = initializers(first.read_bytes()), initializers(last.read_bytes())
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours), "still the imported one"


def test_what_is_no_policy_is_refused(tmp_path: Path) -> None:
    learner = Learner(small(), "run")
    file = tmp_path / "policy.txt"
    with pytest.raises(UserError, match="cannot read"):
        learner.start_from(file)
    file.write_text("x")
    with pytest.raises(UserError, match=r"nothing that a run can start from; give"):
        learner.start_from(file)

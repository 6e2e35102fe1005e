"""Bags through ROS: player, Jacobian server and learner give the replay of the offline path."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from deepilc import checkpoint
from deepilc import config as configuration
from deepilc.bags import offline, raw
from deepilc.bags.recording import MANIFEST
from deepilc.bags.transitions import load
from deepilc.run import RunFolder
from deepilc.transition import Mode
from sims import registry
from tests.bags import raw_bags
from tests.bags.writing import SYSTEM, all_serialized, changed, flight, record

pytestmark = pytest.mark.ros

OFFLINE = {"model": {"synthetic_share": 0.0}}  # as `deepilc replay` has it


@pytest.mark.slow
@pytest.mark.parametrize("victim", [None, "player", "learner", "jacobian_server"])
def test_played_bag_gives_the_replay_of_the_offline_path(
    victim: str | None, nodes: Any, probe: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    rows = flight(episodes=18)
    rows = changed(changed(rows, 31, mode=Mode.EVAL), 100, excluded="late")
    rows = rows[:50] + rows[55:70] + rows[60:]  # a gap, and some twice
    bag = record(tmp_path, all_serialized(rows))
    run = nodes.folder / "run"
    settings = {
        **small, "transitions": 10**9, "warmup_transitions": 0, "evaluation_episodes": 0, **OFFLINE,
    }  # fmt: skip
    nodes.parameters = {**settings, "pacing": "real_time", "run": str(run)}
    own = {
        "player": {"bags": str(bag), "ahead": 200},
        "jacobian_server": {},
        "learner": {"jacobian_timeout": 0.0},
    }
    for name, parameters in own.items():
        nodes.start(name, **parameters)
    if victim is not None:
        latest = run / "checkpoints" / "latest.safetensors"
        probe.until(latest.exists, "the first checkpoint")
        nodes.kill(victim)
        nodes.start(victim, **own[victim])
    assert nodes.exit_code("learner") == 0, nodes.output("learner")

    dataset = load([bag], SYSTEM)
    config = configuration.resolve(settings)
    wanted = offline.fill(config, RunFolder.create(tmp_path / "offline"), dataset)
    tensors, metadata = checkpoint.load(run / "checkpoints" / "latest.safetensors")
    ours = wanted.replay.state_dict()
    for name in ("rows", "keys", "added", "sizes"):
        assert torch.equal(tensors[f"replay.{name}"], ours[name]), name
    assert metadata["progress"]["train_transitions"] == len(dataset) == 18 * 30 - 7
    assert metadata["updates"] == len(dataset) - config.learning_starts


def test_a_robots_own_topics_are_played_too(
    nodes: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    profile, delayed = raw_bags.profile(), registry.get("rexquadrotor+delay1")
    bag = raw_bags.write(tmp_path / "bag", list(raw_bags.events([flight(episodes=1, steps=90)])))
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    run = nodes.folder / "run"
    settings = {
        **small, "system": delayed.name, "transitions": 10**9, "warmup_transitions": 0,
        "evaluation_episodes": 0, "batch_size": 16, **OFFLINE,
    }  # fmt: skip
    nodes.parameters = {**settings, "pacing": "real_time", "run": str(run)}
    nodes.start("player", bags=str(bag), profile=str(file))
    nodes.start("jacobian_server")
    nodes.start("learner", jacobian_timeout=0.0)
    assert nodes.exit_code("learner") == 0, nodes.output("learner")
    dataset = raw.load([bag], profile, delayed)
    config = configuration.resolve(settings)
    wanted = offline.fill(config, RunFolder.create(tmp_path / "offline"), dataset)
    tensors, metadata = checkpoint.load(run / "checkpoints" / "latest.safetensors")
    assert torch.equal(tensors["replay.rows"], wanted.replay.state_dict()["rows"])
    assert metadata["progress"]["train_transitions"] == len(dataset) == 90


def test_bags_of_another_system_are_refused_with_what_to_set(nodes: Any, tmp_path: Path) -> None:
    bag = record(tmp_path, all_serialized(flight(episodes=1)))
    manifest = {"parameters": {"system": "rexquadrotor"}}
    (bag / MANIFEST).write_text(json.dumps(manifest))
    run = str(nodes.folder / "run")
    nodes.start("player", run=run, bags=str(bag), system="rexquadrotor+delay1")
    assert nodes.exit_code("player") == 2
    assert "start it with --set train.system=rexquadrotor" in nodes.output("player")
    nodes.start("player", run=run, bags=str(bag), profile="quadrotor_odometry")
    assert nodes.exit_code("player") == 2
    assert "--set train.system=rexquadrotor+delay1" in nodes.output("player")


def test_player_without_bags_says_so(nodes: Any) -> None:
    nodes.start("player", run=str(nodes.folder / "run"))
    assert nodes.exit_code("player") == 2
    assert "set its parameter bags" in nodes.output("player")

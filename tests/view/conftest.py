"""A small finished run, for what is shown of it."""

from pathlib import Path

import pytest

from deepilc.cli.app import run

SETTINGS = (
    "transitions=230",
    "warmup_transitions=100",
    "evaluation_episodes=2",
    "evaluation_interval=100",
    "updates_per_transition=2",
    "batch_size=32",
    "checkpoint_interval=60",
    "agent.critic_hidden=16",
    "agent.actor_hidden=16",
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs") / "cartpole"
    changes = [word for setting in SETTINGS for word in ("--set", setting)]
    assert run(["train", "--system", "cartpole", "--out", str(made), *changes]) == 0
    return made

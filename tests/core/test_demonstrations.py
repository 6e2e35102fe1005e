"""Earlier data in every batch: reproducible draws, exact resume, and refusals."""

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepilc import checkpoint
from deepilc import config as configuration
from deepilc.config import TrainConfig
from deepilc.demonstrations import Demonstrations
from deepilc.errors import UserError
from deepilc.intake import Joined
from deepilc.learner import Learner
from deepilc.run import RunFolder
from deepilc.train import Status, train
from deepilc.world import SimulatedWorld
from sims import registry

SMALL: dict[str, Any] = {
    "system": "cartpole",
    "transitions": 160,
    "warmup_transitions": 40,
    "batch_size": 32,
    "learning_starts": 32,
    "updates_per_transition": 1.0,
    "evaluation_episodes": 0,
    "policy_interval": 20,
    "replay_capacity": 1000,
    "seed": 3,
    "agent": {"critic_hidden": 16, "actor_hidden": 16, "target_steps": 2, "burn_in": 40},
}


def small(**changes: Any) -> TrainConfig:
    return configuration.resolve({**SMALL, **changes})


def run_folder(path: Path, config: TrainConfig) -> RunFolder:
    return RunFolder.create(path, config=config.model_dump(mode="json"))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another seed, with random actions."""
    config = small(transitions=80, warmup_transitions=80, updates_per_transition=0.0, seed=9)
    run = run_folder(tmp_path_factory.mktemp("earlier") / "run", config)
    train(config, run)
    run.close()
    return run.path


def assert_equal(left: Path, right: Path) -> None:
    (ours, _), (theirs, _) = checkpoint.load(left), checkpoint.load(right)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"policy"}:  # holds the name of the run
        assert torch.equal(ours[name], theirs[name]), name


def test_a_run_with_demonstrations_and_burn_in_resumes_bit_equal_though_they_are_gone(
    tmp_path: Path, earlier: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(earlier, copy)
    config = small(demonstrations=str(copy))
    whole, broken = run_folder(tmp_path / "whole", config), run_folder(tmp_path / "broken", config)
    train(config, whole)
    stops = iter([50, 120])  # within the burn-in (40 updates from transition 32 on), and after it

    def interrupt(status: Status) -> None:
        nonlocal stop_at
        if status.transitions >= stop_at:
            stop_at = next(stops, 10**9)
            signal.raise_signal(signal.SIGINT)

    stop_at = next(stops)
    with pytest.raises(KeyboardInterrupt):
        train(config, broken, progress=interrupt)
    shutil.rmtree(copy)  # the rows are part of the checkpoint
    with pytest.raises(KeyboardInterrupt):
        train(config, broken, resume=True, progress=interrupt)
    train(config, broken, resume=True)
    assert_equal(whole.checkpoint, broken.checkpoint)


def test_a_batch_holds_the_share_of_rows_that_is_asked_for(earlier: Path) -> None:
    config = small(demonstrations=str(earlier), demonstration_share=0.25)
    demonstrations = Demonstrations.read(config, registry.get("cartpole"))
    batch = demonstrations.sample()
    assert len(batch) == 8
    tensors, _ = checkpoint.load(earlier / "checkpoints" / "latest.safetensors")
    recorded = {tuple(row) for row in tensors["replay.rows"][:, :5].tolist()}
    assert all(tuple(row) in recorded for row in batch.state_action.tolist())
    assert bool(batch.valid.all()), "with their Jacobians"


def test_what_is_drawn_depends_on_the_seed_and_on_the_share(earlier: Path) -> None:
    system = registry.get("cartpole")

    def first(**changes: Any) -> torch.Tensor:
        config = small(demonstrations=str(earlier), **changes)
        return Demonstrations.read(config, system).sample().state_action

    assert torch.equal(first(), first())
    assert not torch.equal(first(), first(seed=4))
    assert len(first(demonstration_share=0.75)) == 24


def test_the_updates_do_not_depend_on_when_they_are_made(earlier: Path) -> None:
    config = small(demonstrations=str(earlier), updates_per_transition=0.5)
    prompt, late = Learner(config, "run"), Learner(config, "run")
    world = SimulatedWorld(config.system, config.parameters, config.plan)
    model = world.system.model(config.nominal_parameters)
    rng = np.random.default_rng(0)
    for _ in range(120):
        assert world.observe() is not None
        t = world.apply(rng.uniform(world.system.action.low, world.system.action.high))
        joined = Joined(t, model.linearize(t.state, t.action_applied, t.next_state))
        prompt.add(joined)
        late.add(joined)
        while prompt.updates_due > 0:
            prompt.update()
    while late.updates_due > 0:
        late.update()
    assert prompt.updates == late.updates > 40
    ours, theirs = prompt.agent.state_dict(), late.agent.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_demonstrations_of_another_system_are_refused(earlier: Path) -> None:
    with pytest.raises(UserError, match=r"of system 'cartpole', not of 'acrobot'"):
        Learner(small(system="acrobot", demonstrations=str(earlier)), "run")


def test_demonstrations_of_another_specification_are_refused(tmp_path: Path, earlier: Path) -> None:
    tensors, metadata = checkpoint.load(earlier / "checkpoints" / "latest.safetensors")
    file = tmp_path / "other.safetensors"
    checkpoint.save(file, tensors, {**metadata, "spec_hash": "0" * 64})
    with pytest.raises(UserError, match=r"another specification of 'cartpole'"):
        Learner(small(demonstrations=str(file)), "run")


def test_networks_without_rows_are_no_demonstrations(tmp_path: Path) -> None:
    file = tmp_path / "networks.safetensors"
    Learner(small(), "run").save_networks(file)
    with pytest.raises(UserError, match=r"networks only, no transitions"):
        Learner(small(demonstrations=str(file)), "run")


def test_a_run_without_a_transition_is_no_demonstration(tmp_path: Path) -> None:
    file = tmp_path / "empty.safetensors"
    Learner(small(), "run").save(file)
    with pytest.raises(UserError, match=r"no transitions yet"):
        Learner(small(demonstrations=str(file)), "run")


def test_shares_that_leave_no_row_to_the_run_itself_are_refused() -> None:
    with pytest.raises(UserError, match=r"leave none of the 4 rows"):
        small(demonstrations="x", demonstration_share=0.95, batch_size=4)


def test_a_share_of_zero_is_a_run_without_demonstrations(earlier: Path) -> None:
    config = small(demonstrations=str(earlier), demonstration_share=0.0)
    assert Learner(config, "run")._demonstrations is None

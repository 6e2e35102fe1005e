"""When updates are owed, and that they do not depend on when they are made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepilc import config as configuration
from deepilc import presets
from deepilc.agent.config import AgentConfig
from deepilc.cli.sources import settings_of
from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc.intake import Joined
from deepilc.learner import Learner
from deepilc.world import SimulatedWorld

SMALL: dict[str, Any] = {
    "system": "cartpole",
    "warmup_transitions": 0,
    "batch_size": 32,
    "updates_per_transition": 2.0,
    "evaluation_episodes": 0,
    "replay_capacity": 1000,
    "agent": {"critic_hidden": 16, "actor_hidden": 16},
}


def small(**changes: Any) -> TrainConfig:
    return configuration.resolve({**SMALL, **changes})


def transitions(config: TrainConfig, count: int) -> list[Joined]:
    world = SimulatedWorld(config.system, config.parameters, config.plan)
    model = world.system.model(config.nominal_parameters)
    rng = np.random.default_rng(0)
    joined = []
    for _ in range(count):
        assert world.observe() is not None
        t = world.apply(rng.uniform(world.system.action.low, world.system.action.high))
        joined.append(Joined(t, model.linearize(t.state, t.action_applied, t.next_state)))
    return joined


@pytest.mark.parametrize("first", [5, 50])
def test_updates_are_owed_from_the_first_rows_on(first: int) -> None:
    config = small(learning_starts=first)
    learner = Learner(config, "run")
    owed = []
    for row in transitions(config, 60):
        learner.add(row)
        owed.append(learner.updates_due)
    assert owed[first - 1] == 0
    assert owed[first:] == [2 * n for n in range(1, 61 - first)]


def test_few_rows_make_the_same_updates_whenever_these_are_made() -> None:
    config = small(learning_starts=5)
    prompt, late = Learner(config, "run"), Learner(config, "run")
    for row in transitions(config, 40):
        prompt.add(row)
        late.add(row)
        while prompt.updates_due > 0:
            prompt.update()
    while late.updates_due > 0:
        late.update()
    assert prompt.updates == late.updates == 70
    ours, theirs = prompt.agent.state_dict(), late.agent.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_fine_tuning_begins_early_and_gently_but_for_the_published_schedule() -> None:
    fine, default = configuration.load(None, base=presets.finetuning()), TrainConfig()
    assert (fine.learning_starts, fine.updates_per_transition) == (50, 1.0)
    agent, scratch = fine.agent, default.agent
    assert agent.actor_learning_rate < scratch.actor_learning_rate
    assert agent.critic_learning_rate < scratch.critic_learning_rate
    published = configuration.load(None, ["preset=published"])
    theirs = configuration.load(None, ["preset=published"], presets.finetuning("published"))
    assert (theirs.warmup_transitions, theirs.learning_starts) == (0, 256)
    assert theirs.agent == published.agent


def test_a_policy_without_critics_gets_critics_that_learn_in_large_steps() -> None:
    base = presets.finetuning(new_critics=True)
    scratch = configuration.load(None).agent
    assert configuration.load(None, base=base).agent == scratch


def test_the_papers_preset_has_what_the_paper_says_of_single_systems() -> None:
    def agent(system: str, **settings: Any) -> AgentConfig:
        base = presets.finetuning("paper", system)
        return configuration.load(None, ["preset=paper"], base, system=system, **settings).agent

    assert agent("cartpole").critic_hidden == 256 and agent("airplane").critic_hidden == 512
    assert configuration.resolve({"preset": "paper"}).agent.critic_hidden == 512
    assert configuration.resolve({"system": "cartpole"}).agent.critic_hidden != 512
    fine = agent("halfcheetah")
    assert (fine.zeta_state, fine.coefficient_interval) == (0.0, 2)
    scratch = configuration.resolve({"preset": "paper", "system": "halfcheetah"}).agent
    assert (scratch.zeta_state, scratch.coefficient_interval) == (0.5, 20)


def test_runs_of_an_earlier_version_still_begin_with_a_batch() -> None:
    assert small(learning_starts=None).learning_starts == SMALL["batch_size"] != 50


def test_pre_training_begins_later_and_hands_its_beginning_on_to_nobody(tmp_path: Path) -> None:
    before = configuration.load(None, base=presets.pretraining(), system="cartpole")
    assert before.learning_starts == 256 != TrainConfig().learning_starts
    Learner(before, "source").save_networks(tmp_path / "source.safetensors")
    fine = configuration.load(None, base=settings_of(tmp_path / "source.safetensors", None, None))
    assert fine.learning_starts == 50


def test_learning_that_starts_with_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="learning_starts"):
        small(learning_starts=0)

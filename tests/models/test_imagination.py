"""The learner with a model: exact schedule, exact resume, and no change where it is off."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from deepilc import checkpoint, paths, presets
from deepilc import config as configuration
from deepilc.agent import SAC
from deepilc.bags import offline
from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc.intake import Joined
from deepilc.learner import Learner
from deepilc.models.corrected import CorrectedModel
from deepilc.models.imagination import Imagination
from deepilc.models.residual import Fit
from deepilc.replay import Replay
from deepilc.run import RunFolder
from deepilc.train import Status, train
from deepilc.transition import Mode
from deepilc.world import SimulatedWorld

SMALL: dict[str, Any] = {
    "system": "cartpole",
    "transitions": 250,
    "warmup_transitions": 100,
    "batch_size": 32,
    "learning_starts": 32,
    "updates_per_transition": 1.0,
    "evaluation_episodes": 0,
    "policy_interval": 20,
    "seed": 3,
    "agent": {"critic_hidden": 16, "actor_hidden": 16},
}
EVERYTHING = {
    "residual": True,
    "members": 2,
    "hidden": 8,
    "refit_interval": 60,
    "synthetic_share": 0.5,
    "rollout_steps": 2,
    "rollouts": 40,
    "rollout_interval": 25,
    "gate": 2.0,
}


def small(**changes: Any) -> TrainConfig:
    return configuration.resolve({**SMALL, **changes})


def recorded(config: TrainConfig, count: int) -> list[Joined]:
    """Transitions under random actions, with their linearizations."""
    world = SimulatedWorld(config.system, config.parameters, config.plan)
    model = world.system.model(config.nominal_parameters)
    rng = np.random.default_rng(0)
    rows = []
    while len(rows) < count:
        assert world.observe() is not None
        t = world.apply(rng.uniform(world.system.action.low, world.system.action.high))
        rows.append(Joined(t, model.linearize(t.state, t.action_applied, t.next_state)))
    return rows


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name].to(value.dtype)), name


def test_switched_off_a_learner_updates_as_agent_and_replay_alone() -> None:
    config = small(model={"synthetic_share": 0.0})
    assert not Imagination.wanted(config)
    learner = Learner(config, "run")
    system = learner.system
    agent = SAC(system, config.agent, config.seed)
    replay = Replay(system.state.size, system.action.size, config.replay_capacity, config.seed)
    for joined in recorded(config, 60):
        learner.add(joined)
        replay.add(joined.transition, joined.linearization)
        while learner.updates_due > 0:
            learner.update()
            agent.update(replay.sample(config.batch_size, discount=config.agent.discount))
    assert agent.updates == 60 - 32
    assert_same(agent.state_dict(), learner.agent.state_dict())


def test_the_schedule_does_not_depend_on_when_updates_are_made() -> None:
    config = small(model=EVERYTHING, updates_per_transition=0.5)
    prompt, late = Learner(config, "run"), Learner(config, "run")
    for joined in recorded(config, 200):
        prompt.add(joined)
        late.add(joined)
        while prompt.updates_due > 0:
            prompt.update()
    while late.updates_due > 0:
        late.update()
    assert prompt.updates == late.updates > 60
    assert_same(prompt.agent.state_dict(), late.agent.state_dict())
    metrics = prompt.metrics()
    assert metrics["corrected_error"] < metrics["nominal_error"]


def test_an_interrupted_run_with_a_model_continues_bit_equal(tmp_path: Path) -> None:
    config = small(model=EVERYTHING, agent={**SMALL["agent"], "target_steps": 2})

    def folder(name: str) -> RunFolder:
        return RunFolder.create(tmp_path / name, config=config.model_dump(mode="json"))

    stops = iter([70, 130])  # after the first fit, and later

    def interrupt(status: Status) -> None:
        nonlocal stop_at
        if status.transitions >= stop_at:
            stop_at = next(stops, 10**9)
            signal.raise_signal(signal.SIGINT)

    whole, broken = folder("whole"), folder("broken")
    train(config, whole)
    stop_at = next(stops)
    with pytest.raises(KeyboardInterrupt):
        train(config, broken, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, broken, resume=True, progress=interrupt)
    train(config, broken, resume=True)
    (ours, _), (theirs, _) = checkpoint.load(whole.checkpoint), checkpoint.load(broken.checkpoint)
    ours.pop("policy"), theirs.pop("policy")  # hold the name of the run
    assert "model.residual.weights" in ours
    for name, value in ours.items():
        same = torch.equal(value.nan_to_num(7.0), theirs[name].nan_to_num(7.0))
        assert same, name


def test_real_rows_get_the_corrected_models_jacobian() -> None:
    config = small(model={**EVERYTHING, "synthetic_share": 0.0, "gate": 0.0, "jacobian_share": 0.5})
    learner = Learner(config, "run")
    for joined in recorded(config, 100):
        learner.add(joined)
    imagination = learner._imagination
    assert imagination is not None
    imagination.sample(learner.agent, 100)
    model = imagination.model
    assert isinstance(model, CorrectedModel)
    indices = torch.arange(50)
    rows = imagination._correct(learner.replay.rows(indices), indices)
    s, a, after = (x.numpy().copy() for x in (rows.state, rows.action, rows.next_state))
    expected = model.linearize(s, a, after)
    nominal = model.nominal.linearize(s, a, after)
    assert rows.valid.sum() > 30
    assert np.abs(expected.B - nominal.B).max() > 0.01 * np.abs(nominal.B).max()
    for name in ("A", "B", "r_s", "r_a"):
        ours = getattr(rows, name).numpy()
        np.testing.assert_allclose(ours, getattr(expected, name), rtol=1e-4, atol=1e-5)


def test_the_gate_weighs_rows_by_the_square_of_their_error() -> None:
    config = small(model={"gate": 2.0})
    learner = Learner(config, "run")
    rows = recorded(config, 8)
    model = learner.system.model(config.nominal_parameters)
    # errors of 1, 2, ..., 8 centimetres in the cart's position
    for i, joined in enumerate(rows):
        t = joined.transition
        after = model.step(t.state, t.action_applied)
        after[0] += 0.01 * (i + 1)
        learner.add(Joined(replace(t, next_state=after, mode=Mode.WARMUP), joined.linearization))
    imagination, indices = learner._imagination, torch.arange(8)
    assert imagination is not None
    imagination._learn_of(8)
    batch = replace(learner.replay.rows(indices), valid=torch.ones(8))
    weights = imagination._correct(batch, indices).valid
    # the (lower) median is 4, so beyond 8 rows would lose weight: none does
    torch.testing.assert_close(weights, torch.ones(8))
    batch = replace(batch, valid=torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 1]))
    weights = imagination._correct(batch, indices).valid
    # of 1, 2, 3 and 8 it is 2: 8 counts (2 * 2 / 8)^2
    expected = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0.25])
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=0)


def test_a_batch_without_any_jacobian_passes_the_gate() -> None:
    config = small(model=EVERYTHING)
    learner = Learner(config, "run")
    for joined in recorded(config, 70):
        learner.add(replace(joined, linearization=None))
    while learner.updates_due > 0:
        learner.update()
    assert torch.isfinite(learner.agent.state_dict()["critic"]).all()
    assert learner.without_jacobian == 70


def test_a_full_replay_is_fitted_and_drawn_from_after_a_resume(tmp_path: Path) -> None:
    config = small(model={**EVERYTHING, "refit_interval": 130}, replay_capacity=1000)
    rows = recorded(small(transitions=10_000), 5300)  # more than the replay keeps
    learner = Learner(config, "run", lockstep=False)
    for joined in rows[:5250]:
        learner.add(joined)
    learner.update()
    learner.save(tmp_path / "checkpoint.safetensors")
    resumed = Learner.resume(tmp_path / "checkpoint.safetensors", lockstep=False)
    for joined in rows[5250:]:
        for each in (learner, resumed):
            each.add(joined)
            each.update()
    assert_same(learner.agent.state_dict(), resumed.agent.state_dict())


def test_half_of_a_batch_comes_from_rollouts_once_there_are_some() -> None:
    config = small(model={**EVERYTHING, "gate": 0.0})
    learner = Learner(config, "run")
    for joined in recorded(config, 130):
        learner.add(joined)
    imagination, gamma = learner._imagination, config.agent.discount
    assert imagination is not None
    real = {tuple(row) for row in learner.replay.rows(torch.arange(130)).state_action.tolist()}

    def sample(size: int) -> tuple[list[bool], torch.Tensor]:
        batch = imagination.sample(learner.agent, size)
        assert len(batch) == 32 and batch.discount is not None
        return [tuple(row) in real for row in batch.state_action.tolist()], batch.discount

    own, discount = sample(24)
    assert all(own) and discount.eq(gamma).all(), "they are renewed every 25 transitions"
    for size in (25, 60):  # in the nominal model, and in the corrected one
        own, discount = sample(size)
        assert all(own[:16]) and discount[:16].eq(gamma).all()
        first = torch.tensor(own[16:])  # of two steps: a recorded one, then the model's
        torch.testing.assert_close(discount[16:], torch.where(first, gamma**2, gamma))
        assert 0 < first.sum() < 16


def test_rollouts_of_a_learner_end_at_the_edge_of_its_workspaces(tmp_path: Path) -> None:
    content = yaml.safe_load((paths.PROFILES / "quadrotor_odometry.yaml").read_text())
    content["bounds"] = {"z": [50.0, 51.0]}  # no row is in there
    file = tmp_path / "narrow.yaml"
    file.write_text(yaml.safe_dump(content))
    model = {**EVERYTHING, "residual": False, "gate": 0.0, "rollout_steps": 5}
    free = small(system="rexquadrotor", model=model)
    fenced = small(system="rexquadrotor", model=model, workspace=f"quadrotor_odometry,{file}")
    rows, gamma = recorded(free, 50), free.agent.discount
    for config, longest in ((free, gamma**5), (fenced, gamma**2)):
        learner = Learner(config, "run")
        for joined in rows:
            learner.add(joined)
        assert learner._imagination is not None
        batch = learner._imagination.sample(learner.agent, 50)
        assert batch.discount is not None
        assert batch.discount.min().item() == pytest.approx(longest)
        beyond = batch.discount < gamma - 1e-6
        assert beyond.any() and batch.terminated[beyond].all() == (config is fenced)


def test_a_residual_that_predicts_too_little_is_not_used() -> None:
    config = small(model={**EVERYTHING, "synthetic_share": 0.0, "gate": 0.0})
    learner = Learner(config, "run")
    for joined in recorded(config, 100):
        learner.add(joined)
    imagination, indices = learner._imagination, torch.arange(50)
    assert imagination is not None and imagination.model is imagination.nominal
    imagination.sample(learner.agent, 100)
    rows = learner.replay.rows(indices)

    def corrected() -> bool:
        changed = not torch.equal(imagination._correct(rows, indices).jacobian, rows.jacobian)
        assert changed is isinstance(imagination.model, CorrectedModel)
        return changed

    assert corrected(), "half of a cartpole's error is easily learned"
    imagination._fit = Fit(1.0, 0.51)
    assert not corrected()
    imagination._fit = Fit(1.0, 0.5)
    assert corrected()


def test_errors_of_the_model_are_reported_from_the_first_fit_on() -> None:
    learner = Learner(small(model=EVERYTHING), "run")
    rows = recorded(learner.config, 70)
    for joined in rows[:40]:
        learner.add(joined)
    learner.update()
    assert "nominal_error" not in learner.metrics(), "a fit needs 60 rows"
    for joined in rows[40:]:
        learner.add(joined)
    while learner.updates_due > 0:
        learner.update()
    metrics = learner.metrics()
    assert 0.0 < metrics["corrected_error"] <= metrics["nominal_error"]
    assert metrics["residual_used"] == 1.0


@pytest.mark.parametrize(
    ("settings", "share", "residual"),
    [
        ({}, 0.5, True),
        ({"agent": {"value_gradient": False}}, 0.0, False),
        ({"agent": {"value_gradient": False}, "model": {"synthetic_share": 0.3}}, 0.3, True),
        ({"model": {"synthetic_share": 0.0}}, 0.0, False),
        ({"model": {"synthetic_share": 0.0, "residual": True}}, 0.0, True),
        ({"model": {"residual": False}}, 0.5, False),
        ({"preset": "paper"}, 0.0, False),
        ({"preset": "published", "model": {"gate": 2.0}}, 0.0, False),
        ({"preset": "published", "model": {"synthetic_share": 0.4}}, 0.4, True),
        ({"system": "dmc_cheetah"}, 0.0, False),
        (presets.pretraining(), 0.5, False),
        (presets.finetuning(), 0.5, True),
        (presets.finetuning(new_critics=True), 0.5, True),
        (offline.BASE, 0.0, False),
    ],
)
def test_rollouts_are_for_learning_value_gradients_online(
    settings: dict[str, Any], share: float, residual: bool
) -> None:
    config = configuration.resolve(settings)
    assert config.model.synthetic_share == share
    assert config.model.residual is residual
    again = configuration.resolve(config.model_dump())
    assert again == config


def test_files_of_earlier_runs_mean_what_they_meant() -> None:
    unknown = configuration.resolve({}).model_dump()
    del unknown["model"]
    assert not Imagination.wanted(configuration.of_a_run(unknown))
    # one step of the policy in the model, the real one not counted
    assert configuration.resolve({"model": {"rollout_steps": 1}}).model.rollout_steps == 2


def test_a_checkpoint_of_before_models_were_learned_is_resumed(tmp_path: Path) -> None:
    learner = Learner(small(model={"synthetic_share": 0.0}), "run")
    learner.save(tmp_path / "checkpoint.safetensors")
    tensors, metadata = checkpoint.load(tmp_path / "checkpoint.safetensors")
    del metadata["config"]["model"]
    checkpoint.save(tmp_path / "older.safetensors", tensors, metadata)
    resumed = Learner.resume(tmp_path / "older.safetensors")
    assert not Imagination.wanted(resumed.config)


def test_misspelt_and_senseless_settings_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'residual'"):
        small(model={"residul": True})
    with pytest.raises(UserError, match=r"model\.synthetic_share"):
        small(model={"synthetic_share": 1.0})

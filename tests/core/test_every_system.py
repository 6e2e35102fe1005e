"""Every system trains with VG-SAC and with SAC, and its policy acts on it."""

from pathlib import Path

import numpy as np
import pytest

from deepilc import checkpoint
from deepilc import config as configuration
from deepilc.evaluate import evaluate
from deepilc.policy import Policy
from deepilc.run import RunFolder
from deepilc.train import train
from sims import registry

ROOT = Path(__file__).resolve().parents[2]
TASKS = ["gym:Hopper-v5", "gym:InvertedPendulum-v5", "rexquadrotor+delay1", "hopper+delay1"]


@pytest.mark.parametrize("value_gradient", [True, False], ids=["vg-sac", "sac"])
@pytest.mark.parametrize("name", [*registry.names(), *TASKS])
def test_system_trains(name: str, value_gradient: bool, tmp_path: Path) -> None:
    system = registry.get(name)
    config = configuration.resolve(
        {
            "system": name,
            "transitions": 150,
            "warmup_transitions": 60,
            "batch_size": 32,
            "updates_per_transition": 20.0 / min(system.horizon, 150),
            "evaluation_episodes": 0,
            "seed": 1,
            "agent": {"critic_hidden": 16, "actor_hidden": 16, "value_gradient": value_gradient},
        }
    )
    run = RunFolder.create(tmp_path / "run", config=config.model_dump(mode="json"))
    learner = train(config, run)
    run.close()
    assert learner.updates >= 10
    assert learner.without_jacobian == 0 or not value_gradient
    # contact can make a Jacobian too large to trust, but not as a rule
    assert learner.invalid_jacobians <= 0.2 * learner.progress.train_transitions
    tensors, _ = checkpoint.load(run.checkpoint)
    networks = [t for n, t in tensors.items() if n.startswith(("agent.actor", "agent.critic"))]
    assert networks and all(np.isfinite(t.numpy()).all() for t in networks)
    policy = Policy.load(run.policy, system)
    assert np.isfinite(evaluate(policy, system, "real", episodes=2)).all()

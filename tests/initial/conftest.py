"""Models of Stable-Baselines3, trained for a moment and saved by it."""

from typing import Any

import pytest
import torch

from sims.env import SystemEnv


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, bytes]]:
    """Small models after a little training in the nominal model, and their files."""
    library = pytest.importorskip("stable_baselines3")
    folder = tmp_path_factory.mktemp("sb3")
    learning = {
        "SAC": {"learning_starts": 50, "batch_size": 32},
        "TD3": {"learning_starts": 50, "batch_size": 32},
        "PPO": {"n_steps": 128, "batch_size": 32, "n_epochs": 2},
    }
    made = {}
    for name, settings in learning.items():
        kwargs: dict[str, Any] = {"net_arch": [16, 8]}
        if name == "TD3":
            kwargs["activation_fn"] = torch.nn.ELU
        env = SystemEnv("cartpole", "nominal")
        model = getattr(library, name)(
            "MlpPolicy", env, seed=0, device="cpu", policy_kwargs=kwargs, **settings
        )
        model.learn(200)
        model.save(folder / name)
        made[name] = (model, (folder / f"{name}.zip").read_bytes())
    return made

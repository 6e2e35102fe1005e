"""Stable-Baselines3's SAC with its own defaults, as an independent baseline, on any system."""

import time
from typing import Any

import numpy as np

from deepilc.errors import UserError
from deepilc.evaluate import rollouts
from deepilc.experiment.cell import Cell
from deepilc.experiment.store import Point
from sims import registry
from sims.env import SystemEnv

__all__ = ["require", "run"]


def require() -> None:
    """Check that it is installed.

    Raises:
        UserError: It is not.
    """
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        raise UserError(
            "SB3 SAC needs Stable-Baselines3, which is not installed: pip install "
            "'.[compare]' in the checkout, or choose others with --variants"
        ) from None


def run(cell: Cell) -> list[Point]:
    """Learns from scratch; only the number of random transitions at the start is ours.

    Raises:
        UserError: Stable-Baselines3 is missing.
    """
    require()
    import stable_baselines3
    from stable_baselines3.common.callbacks import BaseCallback

    system = registry.get(cell.system)
    began = time.monotonic()
    model = stable_baselines3.SAC(
        "MlpPolicy",
        SystemEnv(cell.system, cell.parameters),
        seed=cell.seed,
        learning_starts=cell.config.warmup_transitions,
        device="cpu",
    )
    points: list[Point] = []

    class Deterministic:
        def act(self, states: np.ndarray, noise: Any = None) -> np.ndarray:
            return np.asarray(model.predict(states, deterministic=True)[0], np.float32)

    def measure(at: int) -> None:
        policy: Any = Deterministic()
        returns, steps = rollouts(policy, system, cell.parameters, cell.episodes)
        before = points[-1].evaluation_transitions if points else 0
        spent = before + int(steps.sum())
        seconds = time.monotonic() - began
        mean, deviation = float(returns.mean()), float(returns.std(ddof=min(len(returns) - 1, 1)))
        points.append(Point(at, spent, seconds, mean, deviation, cell.episodes))

    class Evaluation(BaseCallback):
        def _on_step(self) -> bool:
            at = self.num_timesteps
            if at == cell.budget or (cell.interval > 0 and at % cell.interval == 0):
                measure(at)
            return True

    measure(0)
    model.learn(cell.budget, callback=Evaluation())
    return points

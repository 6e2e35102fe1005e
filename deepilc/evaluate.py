"""Returns of a policy from fixed start states, and the paired gain of one policy over another.

All episodes advance together, one vector step per control period. The start states are those of the
evaluation episodes of a run, so returns are paired start by start.
"""

from dataclasses import dataclass

import numpy as np

from deepilc.plan import EVALUATION_SEED, evaluation_start
from deepilc.policy import Policy
from sims.system import System

__all__ = ["Gain", "evaluate", "paired_gain", "rollouts"]


def evaluate(
    policy: Policy,
    system: System,
    parameters: str = "real",
    episodes: int = 20,
    seed: int = EVALUATION_SEED,
) -> np.ndarray:
    """Deterministic returns, undiscounted.

    Args:
        policy: Acts without noise.
        system: What it acts on.
        parameters: Parameter set of the world.
        episodes: Number of start states.
        seed: Start state k is fixed by (seed, k).

    Returns:
        (episodes,) float64, in the order of the start states.
    """
    return rollouts(policy, system, parameters, episodes, seed)[0]


def rollouts(
    policy: Policy,
    system: System,
    parameters: str = "real",
    episodes: int = 20,
    seed: int = EVALUATION_SEED,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (episodes,) as `evaluate` gives them, and the steps (episodes,) until each ended."""
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}, must be at least 1")
    starts = np.stack([evaluation_start(system, parameters, seed, k) for k in range(episodes)])
    state = starts
    task = system.parameters(parameters)
    simulation = system.simulation(task, episodes)
    for row, start in enumerate(starts):
        simulation.begin(row, start)
    returns, steps = np.zeros(episodes), np.zeros(episodes, np.int64)
    running = np.ones(episodes, bool)
    for _ in range(system.horizon):
        action = policy.act(state)
        next_state = simulation.step(action)
        reward = system.reward(state, action, next_state, task)
        returns[running] += np.asarray(reward, np.float64)[running]
        steps += running
        running &= ~system.terminated(state, action, next_state, task)
        if not running.any():
            break
        # Rows that have ended stand at their start, where nothing can go wrong; they do not count.
        state = np.where(running[:, None], next_state, starts)
        for ended in map(int, np.flatnonzero(~running)):
            simulation.begin(ended, starts[ended])
    return returns, steps


@dataclass(frozen=True)
class Gain:
    """Mean of paired differences with its 95 % interval (Student's t over the start states).

    Attributes:
        mean: Mean difference.
        low: Lower end of the interval.
        high: Upper end.
        pairs: Number of start states.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def significant(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0.0

    def __str__(self) -> str:
        """`+12.3 [4.5, 20.1]`."""
        return f"{self.mean:+.1f} [{self.low:.1f}, {self.high:.1f}]"


def paired_gain(before: np.ndarray, after: np.ndarray) -> Gain:
    """How much better `after` is, start state by start state.

    The interval is mean +- t(0.975, K - 1) sd / sqrt(K): start states are the sample, the two
    policies are given. It says nothing about other training seeds.

    Args:
        before: (K,) returns, K >= 2.
        after: (K,) returns from the same start states.
    """
    from scipy import stats

    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if before.shape != after.shape or before.ndim != 1 or len(before) < 2:
        raise ValueError(f"need two equal rows of at least 2, not {before.shape}, {after.shape}")
    difference = after - before
    mean = float(difference.mean())
    half = float(stats.t.ppf(0.975, len(difference) - 1) * stats.sem(difference))
    return Gain(mean, mean - half, mean + half, len(difference))

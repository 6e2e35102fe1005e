"""Transitions as they occur when a system is driven at random: what the benches measure with."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["all_systems", "random_transitions"]

SETTLE = 0.5  # s from the start states on that are left out: legs have met the ground by then
ROWS = 256  # rows that are driven side by side, at most


def random_transitions(
    system: "System", parameters: str, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transitions under uniformly random actions, from somewhat after the start.

    Args:
        system: The system.
        parameters: Parameter set that it obeys.
        count: Number of transitions.

    Returns:
        States (count, n), actions (count, m) and next states (count, n), always the same.
    """
    rng = np.random.default_rng(0)
    rows = min(count, ROWS)
    simulation = system.simulation(parameters, rows)
    task = system.parameters(parameters)
    state = system.reset(rng, parameters, rows)
    for row in range(rows):
        simulation.begin(row, state[row])
    settle = min(round(SETTLE / system.dt), system.horizon // 2)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for step in range(settle + -(-count // rows)):
        action = rng.uniform(system.action.low, system.action.high, (rows, system.action.size))
        action = action.astype(np.float32)
        after = simulation.step(action)
        if step >= settle:
            found.append((state, action, after))
        ended = system.terminated(state, action, after, task)
        state = after.copy()
        for row in map(int, np.flatnonzero(ended)):
            state[row] = system.reset(rng, parameters)
            simulation.begin(row, state[row])
    states, actions, nexts = (np.concatenate(column)[:count] for column in zip(*found, strict=True))
    return states, actions, nexts


def all_systems() -> list[str]:
    """Names of the systems of the package and of gymnasium's tasks."""
    from sims import registry
    from sims.systems.gym_task import TASKS

    return [*registry.names(), *(f"gym:{task}" for task in TASKS)]

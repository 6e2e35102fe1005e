"""Short rollouts of a policy in a model: synthetic rows to learn from, Jacobians included."""

from collections.abc import Callable

import numpy as np
import torch

from deepilc.replay import Batch
from sims.model import Model

__all__ = ["rollout"]


def rollout(
    model: Model,
    act: Callable[[np.ndarray], np.ndarray],
    states: np.ndarray,
    steps: int,
    *,
    jacobians: bool = True,
) -> Batch:
    """Follows a policy in a model, from many states at once.

    A rollout ends where the system says that the task has ended; a prediction that is not finite
    ends it too and gives no row. Rewards and ends are those of the model's parameter set.

    Args:
        model: Predicts, and supplies Jacobians.
        act: States (N, n) to actions (N, m), with noise if there is to be any.
        states: (N, n) where to begin.
        steps: Most steps of each rollout.
        jacobians: Whether to linearize; without, no row is valid for the value gradient.

    Returns:
        Rows on the CPU: those of the first steps, then those of the second steps, and so on.
    """
    system, parameters = model.system, model.parameters
    n, d = system.state.size, system.state.size + system.action.size
    parts: list[list[np.ndarray]] = []
    for _ in range(steps):
        if not len(states):
            break
        action = act(states)
        after = model.step(states, action)
        finite = np.isfinite(after).all(axis=1)
        states, action, after = states[finite], action[finite], after[finite]
        ended = system.terminated(states, action, after, parameters)
        jacobian = np.zeros((len(states), n, d), np.float32)
        gradient = np.zeros((len(states), d), np.float32)
        valid = np.zeros(len(states), np.float32)
        if jacobians and len(states):
            A, B, r_s, r_a, good = model.linearize(states, action, after)
            jacobian = np.concatenate([A, B], axis=2)
            gradient = np.concatenate([r_s, r_a], axis=1)
            valid = good.astype(np.float32)
        parts.append(
            [
                np.concatenate([states, action], axis=1),
                system.reward(states, action, after, parameters),
                after,
                ended.astype(np.float32),
                jacobian,
                gradient,
                valid,
            ]
        )
        states = after[~ended]
    columns = zip(*parts, strict=True)
    return Batch(*(torch.from_numpy(np.concatenate(c, dtype=np.float32)) for c in columns))

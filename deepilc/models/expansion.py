"""Value expansion: real transitions, continued by the current policy in the model.

Targets of one step pass values on slowly, and longer ones made of recorded transitions hold the
actions of older policies. Here a row stands for several steps: a real transition, or a step in the
model, and then the current policy's steps in the model, before the target critics take over
(Feinberg et al., 2018). That its value gradient is expanded too is ours: Eq. 12 applied once per
step, with the derivatives of the model and of the policy in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepilc.batch import Batch
from deepilc.safety import Envelope
from sims.model import Model

if TYPE_CHECKING:
    from deepilc.agent.actor import Acted
    from deepilc.agent.sac import SAC

__all__ = ["expand"]

FAR = 1e4
"""Typical sizes from its middle beyond which a predicted state has run away."""


@dataclass(frozen=True)
class _Step:
    """One step of N rollouts; the recorded one comes first.

    Attributes:
        rows: The step itself, with the discount of one step.
        made: (N,) whether it was made: False beyond a rollout's end.
        acted: How the policy chose its actions; None where they were recorded.
    """

    rows: Batch
    made: torch.Tensor
    acted: "Acted | None" = None


@torch.no_grad()
def expand(
    model: Model,
    agent: "SAC",
    rows: Batch,
    steps: int,
    rng: np.random.Generator,
    workspaces: Sequence[Envelope] = (),
) -> Batch:
    """Rows that stand for all steps from theirs to the end of a rollout.

    A rollout ends after `steps` steps, where the system says that the task has ended, outside of a
    workspace, or before a prediction that is not finite or far out. With a_k drawn by the policy pi
    from the second step on,

        R_k = r_k + gamma (R_k+1 - alpha log pi(a_k+1 | s_k+1))
        J_k = J_k+1 [I; dpi/ds] [A B]_k
        G_k = [r_s r_a]_k + gamma (G_k+1 [I; dpi/ds] - alpha dlog pi/ds) [A B]_k

    so that R_k + discount V(s') and G_k + discount V_s(s') J_k are the targets of value and value
    gradient (Eq. 12 and 13), with s' and discount = gamma^(number of steps) those of the last step.

    Args:
        model: Predicts, and supplies Jacobians if the agent learns value gradients.
        agent: Its actor (not the averaged policy), alpha and gamma.
        rows: N real transitions; the first step of each rollout. One that ends its episode stays
            alone.
        steps: Most steps of a rollout, the real one included.
        rng: Draws the policy's noise.
        workspaces: Where robots' episodes may go; beyond an edge they have terminated.

    Returns:
        Rows on the CPU: at most N for each step, those of the last steps first. `valid` is the
        product over their steps.
    """
    alpha, gamma = agent.alpha, agent.config.discount
    made = _followed(model, agent, rows, steps, rng, workspaces)
    parts: list[Batch] = []
    after: Batch | None = None  # the next step, expanded
    for number in reversed(range(len(made))):
        step = made[number]
        if after is not None:
            onward = made[number + 1]
            assert onward.acted is not None
            after = _fold(step.rows, after, onward.acted, onward.made, alpha, gamma)
        else:
            after = step.rows
        parts.append(_some(after, step.made))
    return _all(parts)


def _followed(
    model: Model,
    agent: "SAC",
    rows: Batch,
    steps: int,
    rng: np.random.Generator,
    workspaces: Sequence[Envelope],
) -> list[_Step]:
    """The rollouts, step by step."""
    system, parameters = model.system, model.parameters
    n, m, jacobians = agent.n, agent.m, agent.config.value_gradient
    center, far = system.state.center, FAR * system.state.scale
    columns = {k: v.cpu() for k, v in vars(rows).items() if v is not None}
    first = Batch(**{**columns, "discount": torch.full((len(rows),), agent.config.discount)})
    made = [_Step(first, torch.ones(len(rows), dtype=torch.bool))]
    going = first.terminated == 0.0
    for _ in range(1, steps):
        state = np.ascontiguousarray(made[-1].rows.next_state.numpy())
        noise = torch.from_numpy(rng.standard_normal((len(state), m), np.float32))
        acted = agent.follow(torch.from_numpy(state), noise)
        action = acted.action.numpy()
        after = model.step(state, action)
        usable = (np.abs(after - center) <= far).all(axis=1)  # neither NaN nor infinite
        after = np.where(usable[:, None], after, state)
        ended = system.terminated(state, action, after, parameters)
        for workspace in workspaces:
            ended = ended | workspace.outside(after)
        reward = system.reward(state, action, after, parameters)
        usable &= np.isfinite(reward)
        jacobian = np.zeros((len(state), n, n + m), np.float32)
        gradient = np.zeros((len(state), n + m), np.float32)
        valid = np.zeros(len(state), bool)
        if jacobians:
            A, B, r_s, r_a, valid = model.linearize(state, action, after)
            jacobian = np.concatenate([A, B], axis=2)
            gradient = np.concatenate([r_s, r_a], axis=1)
        made_now = going & torch.from_numpy(usable)
        made.append(
            _Step(
                Batch(
                    state_action=torch.from_numpy(np.concatenate([state, action], axis=1)),
                    reward=_tensor(np.where(usable, reward, 0.0)),
                    next_state=_tensor(after),
                    terminated=_tensor(ended),
                    jacobian=_tensor(jacobian),
                    reward_gradient=_tensor(gradient),
                    valid=_tensor(valid),
                    discount=first.discount,
                ),
                made_now,
                acted,
            )
        )
        going = made_now & torch.from_numpy(~ended)
    return made


def _fold(
    step: Batch, after: Batch, acted: "Acted", follows: torch.Tensor, alpha: float, gamma: float
) -> Batch:
    """A step joined with all that follows on it, where something does."""
    assert step.discount is not None and after.discount is not None
    n = step.next_state.shape[1]
    through = after.jacobian[:, :, n:].bmm(acted.action_gradient)
    jacobian = (after.jacobian[:, :, :n] + through).bmm(step.jacobian)
    by_action = after.reward_gradient[:, None, n:].bmm(acted.action_gradient)[:, 0]
    by_state = after.reward_gradient[:, :n] + by_action - alpha * acted.log_probability_gradient
    gradient = step.reward_gradient + gamma * by_state[:, None].bmm(step.jacobian)[:, 0]
    # a long product may overflow, and NaN times a weight of 0 is not 0
    finite = (jacobian.sum((1, 2)) + gradient.sum(1)).isfinite()
    jacobian = jacobian.where(finite[:, None, None], 0.0)
    gradient = gradient.where(finite[:, None], 0.0)
    reward = step.reward + gamma * (after.reward - alpha * acted.log_probability)
    return replace(
        step,
        reward=reward.where(follows, step.reward),
        next_state=after.next_state.where(follows[:, None], step.next_state),
        terminated=after.terminated.where(follows, step.terminated),
        jacobian=jacobian.where(follows[:, None, None], step.jacobian),
        reward_gradient=gradient.where(follows[:, None], step.reward_gradient),
        valid=(step.valid * after.valid * finite).where(follows, step.valid),
        discount=(gamma * after.discount).where(follows, step.discount),
    )


def _some(batch: Batch, wanted: torch.Tensor) -> Batch:
    return Batch(**{name: values[wanted] for name, values in vars(batch).items()})


def _all(parts: Sequence[Batch]) -> Batch:
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Batch(*(torch.cat(values) for values in columns))


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))

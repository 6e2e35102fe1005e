"""A batch: the rows that one update learns from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

__all__ = ["Batch", "Correction", "joined"]


@dataclass(frozen=True)
class Batch:
    """Rows for one update, float32, in physical units; N rows, n states, m actions, d = n + m.

    Attributes:
        state_action: (N, d) state s, then applied action a.
        reward: (N,)
        next_state: (N, n) measured s'.
        terminated: (N,) 1 where the task ended, else 0. A truncated row has 0.
        jacobian: (N, n, d) model Jacobians [A B] = dg/d(s, a).
        reward_gradient: (N, d) total reward gradient [r_s r_a].
        valid: (N,) how far Jacobian and reward gradient may be learned from: 1, or 0 for not at
            all, or a weight between them.
        discount: (N,) weight of the value of s': gamma^k where the row stands for k steps. None:
            the gamma of the agent, every row is one step.
    """

    state_action: torch.Tensor
    reward: torch.Tensor
    next_state: torch.Tensor
    terminated: torch.Tensor
    jacobian: torch.Tensor
    reward_gradient: torch.Tensor
    valid: torch.Tensor
    discount: torch.Tensor | None = None

    @property
    def state(self) -> torch.Tensor:
        """(N, n) state s."""
        return self.state_action[:, : self.next_state.shape[1]]

    @property
    def action(self) -> torch.Tensor:
        """(N, m) applied action a."""
        return self.state_action[:, self.next_state.shape[1] :]

    @property
    def A(self) -> torch.Tensor:  # noqa: N802
        """(N, n, n) dg/ds."""
        return self.jacobian[:, :, : self.next_state.shape[1]]

    @property
    def B(self) -> torch.Tensor:  # noqa: N802
        """(N, n, m) dg/da."""
        return self.jacobian[:, :, self.next_state.shape[1] :]

    @property
    def r_s(self) -> torch.Tensor:
        """(N, n) reward gradient with respect to s, through s' and directly."""
        return self.reward_gradient[:, : self.next_state.shape[1]]

    @property
    def r_a(self) -> torch.Tensor:
        """(N, m) reward gradient with respect to a, through s' and directly."""
        return self.reward_gradient[:, self.next_state.shape[1] :]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.reward)

    def and_then(self, other: "Batch") -> "Batch":
        """The rows of both."""
        both: dict[str, Any] = {
            name: None if values is None else torch.cat((values, getattr(other, name)))
            for name, values in vars(self).items()
        }
        return Batch(**both)


Correction = Callable[[Batch, torch.Tensor], Batch]
"""Changes rows of a batch, given with their indices in the replay (N,)."""


def joined(
    first: Batch,
    following: Callable[[], tuple[Batch, torch.Tensor]],
    steps: int,
    discount: float,
) -> Batch:
    """Makes one row of up to `steps` consecutive ones, with later actions as recorded.

        R = sum_i gamma^i r_i,   [A B] = A_{k-1} ... A_1 [A_0 B_0],
        [R_s R_a] = (r_s, r_a)_0 + sum_{i>0} gamma^i r_s,i A_{i-1} ... A_1 [A_0 B_0]

    `next_state` and `terminated` are those of the last step, `discount` is gamma^k and `valid` the
    product. A chain with Jacobians ends before the first row without one. R holds no entropy: of a
    chain's actions only the one at its end, which the policy chooses, earns it.

    Args:
        first: The first rows, with their discount.
        following: Gives the next rows at each call, and whether (N,) they follow on those before.
        steps: Rows that are joined at most.
        discount: gamma.
    """
    reward, gradient, valid = first.reward.clone(), first.reward_gradient, first.valid
    next_state, terminated, jacobian = first.next_state, first.terminated, first.jacobian
    weight = first.discount
    assert weight is not None
    going = torch.ones_like(valid, dtype=torch.bool)
    linear = valid > 0.0
    for i in range(1, steps):
        step, follows = following()
        going = going & follows
        going &= ~(linear & (step.valid == 0.0))
        column = going[:, None]
        reward += torch.where(going, discount**i * step.reward, 0.0)
        chained = torch.bmm(step.r_s[:, None, :], jacobian)[:, 0].mul_(discount**i)
        gradient = torch.where(column, gradient + chained, gradient)
        jacobian = torch.where(column[..., None], torch.bmm(step.A, jacobian), jacobian)
        next_state = torch.where(column, step.next_state, next_state)
        terminated = torch.where(going, step.terminated, terminated)
        valid = torch.where(going, valid * step.valid, valid)
        weight = torch.where(going, weight * discount, weight)
    # a long product of contact Jacobians may overflow, and NaN times a weight of 0 is not 0
    finite = (jacobian.sum((1, 2)) + gradient.sum(1)).isfinite()
    return replace(
        first,
        reward=reward,
        next_state=next_state,
        terminated=terminated,
        jacobian=jacobian.where(finite[:, None, None], 0.0),
        reward_gradient=gradient.where(finite[:, None], 0.0),
        valid=valid * finite,
        discount=weight,
    )

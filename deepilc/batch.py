"""A batch: the rows that one update learns from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Batch", "Correction"]


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

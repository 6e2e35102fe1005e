"""What the learner reports: sums kept on the device, one copy to the host when asked."""

import math

import torch

from deepilc.agent.value_gradient import ValueGradient

__all__ = ["Metrics"]

_NAMES = (
    "critic_1_loss",
    "critic_2_loss",
    "critic_loss",
    "critic_gradient_norm",
    "state_gradient_loss",
    "action_gradient_loss",
    "state_error_max",
    "action_error_max",
    "td_norm",
    "state_norm",
    "action_norm",
    "actor_loss",
    "actor_gradient_norm",
    "alpha_loss",
    "entropy",
    "q",
)


class Metrics:
    """Running means of scalars over the recorded updates.

    Names: `critic_1_loss`, `critic_2_loss` (Eq. 13, the first two critics), `state_gradient_loss`,
    `action_gradient_loss` (Eq. 14, 15), `critic_loss` (Eq. 16), `actor_loss` (Eq. 17),
    `alpha_loss`, `entropy` (nats),
    `q` (reward units); `td_norm`, `state_norm`, `action_norm` are the gradient norms of Eq. 18,
    `critic_gradient_norm` and `actor_gradient_norm` those of the whole losses; `state_error_max`,
    `action_error_max` are the largest errors of the input gradient. Current values: `alpha`,
    `state_coefficient`, `action_coefficient`, `state_median`, `action_median`.

    Args:
        device: Where the sums are kept.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(len(_NAMES), 2, dtype=torch.float64, device=device)
        self._term: torch.Tensor | float = 0.0

    def value_gradient(self, term: ValueGradient, error: torch.Tensor) -> None:
        """Records L_s, L_a and the largest errors (K, N, d)."""
        losses = term.losses(error)
        self._term = (losses * term.betas()).sum()
        largest = [part.max() for part in term.split(error.abs())]
        names = (
            "state_gradient_loss",
            "action_gradient_loss",
            "state_error_max",
            "action_error_max",
        )
        self._add(names, torch.stack([losses[0], losses[1], *largest]))

    def critic(self, error: torch.Tensor, gradient: torch.Tensor) -> None:
        """Records Eq. 13 and 16 from the TD errors (K, N) and the gradient of the whole loss."""
        losses = error.square().mean(1)
        total = losses.sum() + self._term
        names = ("critic_1_loss", "critic_2_loss", "critic_loss", "critic_gradient_norm")
        self._add(names, torch.stack([losses[0], losses[1], total, gradient.norm()]))

    def norms(self, td: torch.Tensor, state: torch.Tensor, action: torch.Tensor) -> None:
        """Records the norms of Eq. 18."""
        self._add(("td_norm", "state_norm", "action_norm"), torch.stack([td, state, action]))

    def actor(
        self,
        q: torch.Tensor,
        log_probability: torch.Tensor,
        alpha: torch.Tensor,
        gradient: torch.Tensor,
        target_entropy: float | None,
    ) -> None:
        """Records Eq. 17 from values (N,) and log pi (N,), and alpha's loss if it is adapted."""
        entropy, mean_q = -log_probability.mean(), q.mean()
        names = ["actor_loss", "actor_gradient_norm", "entropy", "q"]
        values = [-alpha * entropy - mean_q, gradient.norm(), entropy, mean_q]
        if target_entropy is not None:
            names.append("alpha_loss")
            values.append(alpha.log() * (entropy - target_entropy))
        self._add(names, torch.stack(values))

    def take(self, alpha: torch.Tensor, term: ValueGradient) -> dict[str, float]:
        """Means since the last call and current values; what was not recorded is left out."""
        current = torch.cat((alpha.reshape(1), term.coefficients, term.part_medians()))
        host = torch.cat((self._sums.flatten(), current.double())).tolist()
        self._sums.zero_()
        sums, counts = host[0 : 2 * len(_NAMES) : 2], host[1 : 2 * len(_NAMES) : 2]
        means = {
            name: total / count
            for name, total, count in zip(_NAMES, sums, counts, strict=True)
            if count
        }
        names = (
            "alpha", "state_coefficient", "action_coefficient", "state_median", "action_median"
        )  # fmt: skip
        now = dict(zip(names, host[2 * len(_NAMES) :], strict=True))
        return means | {name: value for name, value in now.items() if not math.isnan(value)}

    def state_dict(self, prefix: str) -> dict[str, torch.Tensor]:
        """The sums."""
        return {f"{prefix}sums": self._sums}

    def load_state_dict(self, state: dict[str, torch.Tensor], prefix: str) -> None:
        """Restores the sums."""
        self._sums.copy_(state[f"{prefix}sums"])

    def _add(self, names: tuple[str, ...] | list[str], values: torch.Tensor) -> None:
        for name, value in zip(names, values, strict=True):
            row = self._sums[_NAMES.index(name)]
            row[0] += value
            row[1] += 1.0

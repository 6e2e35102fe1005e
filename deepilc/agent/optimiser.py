"""Adam on one flat tensor, with its state laid open for checkpoints."""

import torch

__all__ = ["FlatAdam"]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class FlatAdam:
    """Adam (Kingma and Ba, 2015) for one flat tensor of weights.

    One call of torch's fused kernel. `torch.optim.Adam` uses the same kernel and takes longer to
    get there than the kernel itself needs for a policy network.

    Attributes:
        gradient: Write the derivative of the loss here, then call `step`.
        learning_rate: Step size.

    Args:
        weights: Flat tensor, changed in place.
        learning_rate: Step size.
    """

    def __init__(self, weights: torch.Tensor, learning_rate: float) -> None:
        self.gradient = torch.zeros_like(weights)
        self._weights = weights
        self.learning_rate = learning_rate
        self._state = {
            "step": torch.zeros((), device=weights.device),
            "exp_avg": torch.zeros_like(weights),
            "exp_avg_sq": torch.zeros_like(weights),
        }

    def step(self) -> None:
        """One step along `gradient`."""
        state = self._state
        state["step"] += 1.0
        torch._fused_adam_(
            [self._weights],
            [self.gradient],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            lr=self.learning_rate,
            beta1=BETA_1,
            beta2=BETA_2,
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Both moments and the number of steps; not copies."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, torch.Tensor], prefix: str = "") -> None:
        """Restores what `state_dict` gave, from keys that begin with `prefix`."""
        for name, value in self._state.items():
            value.copy_(state[prefix + name])

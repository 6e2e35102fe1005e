"""Adam on one flat tensor, with its state laid open for checkpoints."""

import torch

__all__ = ["FlatAdam"]


class FlatAdam:
    """Adam (Kingma and Ba, 2015; fused, default moments) for one flat tensor of weights.

    Attributes:
        gradient: Write the derivative of the loss here, then call `step`.

    Args:
        weights: Flat tensor, changed in place.
        learning_rate: Step size.
    """

    def __init__(self, weights: torch.Tensor, learning_rate: float) -> None:
        self.gradient = torch.zeros_like(weights)
        weights.grad = self.gradient
        on_gpu = weights.device.type == "cuda"
        self._adam = torch.optim.Adam([weights], lr=learning_rate, fused=True, capturable=on_gpu)
        self._state = {
            "step": torch.zeros((), device=weights.device if on_gpu else "cpu"),
            "exp_avg": torch.zeros_like(weights),
            "exp_avg_sq": torch.zeros_like(weights),
        }
        self._adam.state[weights] = self._state

    def step(self) -> None:
        """One step along `gradient`."""
        self._adam.step()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of both moments and the number of steps."""
        return {name: value.clone() for name, value in self._state.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor], prefix: str = "") -> None:
        """Restores what `state_dict` gave, from keys that begin with `prefix`."""
        for name, value in self._state.items():
            value.copy_(state[prefix + name])

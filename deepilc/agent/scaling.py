"""The fixed affine scaling between physical units and what the networks see.

z = (s - c) / S for states and u = (a - b) / T for actions, with the system's centers and scales.
Switched off, networks see physical units; the policy's output is still b + T tanh(...).
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["Scaling"]


class Scaling:
    """Centers and scales as tensors. Off, the centers are zeros and the scales ones.

    Attributes:
        state_scale: (n,) S.
        input_scale: (d,) S and T, of x = (s, a).
        action_gain: (m,) derivative of the critic's action input by the policy's u: ones, or T
            if switched off.
        physical_gain: (m,) derivative of the physical action by the policy's u: T.
        log_density_offset: log pi(u) minus this is the log density that entropy counts: 0, or
            the sum of log T if switched off.

    Args:
        system: Gives centers and scales.
        enabled: Whether networks see scaled states and actions.
        dtype: Number type.
        device: Where to compute.
    """

    def __init__(
        self, system: "System", *, enabled: bool, dtype: torch.dtype, device: torch.device
    ) -> None:
        state, action = system.state, system.action
        n, m = len(state.names), len(action.names)

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(np.asarray(values), dtype=dtype, device=device)

        self._action_center = tensor(action.center)
        self.physical_gain = tensor(action.scale)
        self._state_center = tensor(state.center) if enabled else tensor(np.zeros(n))
        self.state_scale = tensor(state.scale) if enabled else tensor(np.ones(n))
        seen_center = self._action_center if enabled else tensor(np.zeros(m))
        seen_scale = self.physical_gain if enabled else tensor(np.ones(m))
        self._input_center = torch.cat((self._state_center, seen_center))
        self.input_scale = torch.cat((self.state_scale, seen_scale))
        self.action_gain = self.physical_gain / seen_scale
        self._action_shift = (self._action_center - seen_center) / seen_scale
        offset = np.log(np.asarray(action.scale, np.float64)).sum()
        self.log_density_offset = 0.0 if enabled else float(offset)

    def inputs(self, state_action: torch.Tensor, out: torch.Tensor) -> None:
        """The critic's input (N, d) for physical states and actions."""
        torch.sub(state_action, self._input_center, out=out).div_(self.input_scale)

    def states(self, states: torch.Tensor, out: torch.Tensor) -> None:
        """The policy's input (N, n) for physical states."""
        torch.sub(states, self._state_center, out=out).div_(self.state_scale)

    def policy_actions(self, u: torch.Tensor, out: torch.Tensor) -> None:
        """The action part (N, m) of the critic's input for the policy's u."""
        torch.mul(u, self.action_gain, out=out).add_(self._action_shift)

    def policy_inputs(self, actions: torch.Tensor) -> torch.Tensor:
        """The u (N, m) that `policy_actions` makes these critic's inputs of."""
        return (actions - self._action_shift) / self.action_gain

    def physical_actions(self, u: torch.Tensor) -> torch.Tensor:
        """Actions (N, m) in physical units for the policy's u."""
        return u * self.physical_gain + self._action_center

    def policy_arrays(self) -> dict[str, np.ndarray]:
        """Centers and scales of the policy artefact, float32."""
        arrays = {
            "state_center": self._state_center,
            "state_scale": self.state_scale,
            "action_center": self._action_center,
            "action_scale": self.physical_gain,
        }
        return {name: x.cpu().float().numpy().copy() for name, x in arrays.items()}

"""The value-gradient term of the critic loss: targets, robust loss, and its coefficients.

Everything is per coordinate of x = (s, a), the running median too; the state part and the action
part have a coefficient each. Tensors of two numbers are (state, action).
"""

import torch

from deepilc.agent.config import AgentConfig
from deepilc.replay import Batch

__all__ = ["ValueGradient", "gradient_target", "robust_loss"]

MEDIAN_MEMORY = 0.95
"""Share of the running median that one step keeps."""
COEFFICIENT_MEMORY = 0.3
"""Share of the running coefficient that one measurement keeps."""


def gradient_target(
    batch: Batch,
    next_gradient: torch.Tensor,
    discount: float | torch.Tensor,
    state_scale: torch.Tensor,
    input_scale: torch.Tensor,
) -> torch.Tensor:
    """Target of the critic's input gradient, Eq. 12 (and the brackets of Eq. 14 and 15).

        G = (r_s, r_a) + discount (1 - terminated) [A B]' l

    Args:
        batch: N rows, physical units.
        next_gradient: (N, n) l, the gradient of the next value with respect to the scaled s':
            dQ/ds' alone, or the total one through the policy and its entropy.
        discount: gamma, or (N,) one per row.
        state_scale: (n,) S of z = (s - c) / S; ones without scaling.
        input_scale: (d,) the same for x = (s, a).

    Returns:
        (N, d) gradient with respect to the scaled x: A_z = S^-1 A S, B_z = S^-1 B T,
        r_z = S r_s, r_u = T r_a.
    """
    keep = (1.0 - batch.terminated).mul_(discount)[:, None]
    costate = (next_gradient / state_scale).mul_(keep)
    back = torch.bmm(costate[:, None, :], batch.jacobian)[:, 0]
    return back.add_(batch.reward_gradient).mul_(input_scale)


def robust_loss(error: torch.Tensor, knee: torch.Tensor, *, published: bool) -> torch.Tensor:
    """Elementwise d^2 below the knee 2m, beyond it 4md - 4m^2, or 4md if `published`.

    Args:
        error: d, any sign.
        knee: 2m, broadcast.
        published: The published code's form, which jumps by 4m^2 at the knee.
    """
    size = error.abs()
    beyond = 2.0 * knee * size
    if not published:
        beyond = beyond - knee * knee
    return torch.where(size < knee, size * size, beyond)


class ValueGradient:
    """Running medians and coefficients, and the slope of the loss of Eq. 14 and 15.

    Attributes:
        medians: (d,) running medians of the absolute error, one per coordinate of x; NaN before
            the first batch.
        coefficients: (2,) running ratios of gradient norms of Eq. 18 without zeta; NaN before the
            first measurement.

    Args:
        config: Settings.
        states: n.
        actions: m.
        dtype: Number type.
        device: Where to compute.
    """

    def __init__(
        self,
        config: AgentConfig,
        states: int,
        actions: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._per_critic = config.median_update == "per_critic"
        self._exclude = config.masked_rows == "exclude"
        self._published = config.gradient_loss == "published"
        self._squared = config.gradient_loss == "squared"
        self._sizes = [states, actions]
        self._zeta = torch.tensor(
            [config.zeta_state, config.zeta_action], dtype=dtype, device=device
        )
        part = torch.tensor([0] * states + [1] * actions, device=device)
        self._part = part
        # the mean over rows and coordinates of a part: 1 / (N n) or 1 / (N m)
        self._share = torch.tensor([1.0 / states, 1.0 / actions], dtype=dtype, device=device)[part]
        self.medians = torch.full((len(part),), torch.nan, dtype=dtype, device=device)
        self.coefficients = torch.full((2,), torch.nan, dtype=dtype, device=device)
        self.knee = torch.zeros(config.critics, 1, len(part), dtype=dtype, device=device)
        self._weight = torch.zeros(0, 1, dtype=dtype, device=device)

    def error(
        self, gradient: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Errors (K, N, d) of all critics; updates the medians with them.

        Args:
            gradient: (K, N, d) critic input gradients.
            target: (N, d)
            weight: (N,) weight of a row's loss in [0, 1], for `slope` and `losses` too. The error
                of a row with weight 0 is zero; above it, the weight has no effect on medians.
        """
        self._weight = weight[:, None]
        without = self._weight == 0.0
        error = (gradient - target).masked_fill_(without, 0.0)
        size = error.abs()
        if self._exclude:
            size.masked_fill_(without, torch.nan)
        if self._per_critic:
            for k in range(len(size)):
                self._step_medians(size[k])
                self.knee[k, 0] = self._current_knee()
        else:
            self._step_medians(size)
            self.knee[:, 0] = self._current_knee()
        return error

    def slope(self, error: torch.Tensor) -> torch.Tensor:
        """Derivative (K, N, d) of L_s (state part) and L_a (action part) by the input gradient.

        Both forms of the loss have the slope 2 d up to the knee and 4 m beyond, so this is one
        clamp. Means are over all N rows and the coordinates of the part; the losses of all critics
        are added.
        """
        knee = self.knee
        share = self._share * (2.0 / error.shape[1])
        return torch.clamp(error, -knee, knee).mul_(self._weight * share)

    def losses(self, error: torch.Tensor) -> torch.Tensor:
        """(2,) L_s and L_a, summed over all critics."""
        value = robust_loss(error, self.knee, published=self._published).mul_(self._weight)
        sums = (value.sum(0).sum(0) * self._share).split(self._sizes)
        return torch.stack([part.sum() for part in sums]) / error.shape[1]

    def betas(self) -> torch.Tensor:
        """(2,) beta_s and beta_a of Eq. 16: zeta times the coefficient; 0 before a measurement."""
        return self.coefficients.nan_to_num(0.0) * self._zeta

    def weigh(self, slope: torch.Tensor) -> torch.Tensor:
        """Slopes times beta of their part, in place."""
        return slope.mul_(self.betas()[self._part])

    def split(self, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The slope of L_s alone and of L_a alone, zero in the other coordinates."""
        is_action = self._part == 1
        return slope.masked_fill(is_action, 0.0), slope.masked_fill(~is_action, 0.0)

    def measure(self, td_norm: torch.Tensor, norms: torch.Tensor) -> None:
        """Steps the coefficients (Eq. 18).

        Args:
            td_norm: () norm of the TD loss's gradient.
            norms: (2,) norms of the gradients of L_s and L_a. A part with norm zero (no valid row)
                keeps its coefficient.
        """
        new = td_norm / norms
        old = self.coefficients
        mixed = COEFFICIENT_MEMORY * old + (1.0 - COEFFICIENT_MEMORY) * new
        updated = torch.where(old.isnan(), new, mixed)
        self.coefficients.copy_(torch.where(new.isfinite(), updated, old))

    def _current_knee(self) -> torch.Tensor:
        if self._squared:
            return torch.full_like(self.medians, torch.inf)
        return 2.0 * self.medians.nan_to_num(0.0)

    def part_medians(self) -> torch.Tensor:
        """(2,) means of the state coordinates' medians and of the action coordinates'."""
        return torch.stack([part.mean() for part in self.medians.split(self._sizes)])

    def _step_medians(self, size: torch.Tensor) -> None:
        """One step towards the lower medians of `size` (..., d), NaN entries left out."""
        # coordinates as rows: several times faster than medians over columns
        rows = size.reshape(-1, size.shape[-1]).T.contiguous()
        new = rows.nanmedian(1).values
        old = self.medians
        mixed = MEDIAN_MEMORY * old + (1.0 - MEDIAN_MEMORY) * new
        updated = torch.where(old.isnan(), new, mixed)
        self.medians.copy_(torch.where(new.isnan(), old, updated))

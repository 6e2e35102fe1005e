"""The residual: what the nominal model gets wrong, learned by an ensemble of small networks.

    s' = g(s, a) + delta(s, a),   delta_k = D (L_k x + W3_k tanh(W2_k tanh(W1_k x + b1_k) + b2_k))

with x the scaled (s, a) and a 1, and D the typical size of delta in each coordinate. With g(s, a) =
s this is the usual ensemble of changes (Chua et al., 2018); with a nominal model the networks only
have to learn the difference, from few transitions. A new ensemble predicts zero: the nominal model.

All members are one batch of every product, and passes are in closed form.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from deepilc.agent.optimiser import FlatAdam
from deepilc.errors import UserError

if TYPE_CHECKING:
    from sims.system import System

__all__ = ["Fit", "Residual"]

LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-4
"""Slope of the penalty on weights, per weight."""
ROWS_PER_STEP = 128
LOOK_INTERVAL = 50
"""Steps between looks at the held-out rows."""
PATIENCE = 6
"""Looks without a better error after which a fit ends."""
HELD_OUT, BLOCK = 5, 25
"""Every fifth block of 25 rows is held out: rows next to each other say nearly the same."""
ROWS_AT_ONCE = 64
OUTLIER = 3.0
"""Typical sizes beyond which an error pulls no harder."""
SMALLEST_SCALE = 1e-5
"""Lower bound of D in the system's typical sizes."""


class Fit(NamedTuple):
    """What a fit achieved on the rows that it held out, in typical sizes D of delta.

    Attributes:
        before: Root mean square of delta: the error of the nominal model.
        after: That of delta minus the ensemble's mean.
    """

    before: float
    after: float


class _Weights(NamedTuple):
    """Views of a flat tensor: K members, d inputs, n outputs, width H.

    Attributes:
        first: (K, H, d + 1), the bias in the last column.
        second: (K, H, H)
        second_bias: (K, 1, H)
        head: (K, n, H)
        linear: (K, n, d + 1)
    """

    first: torch.Tensor
    second: torch.Tensor
    second_bias: torch.Tensor
    head: torch.Tensor
    linear: torch.Tensor

    @classmethod
    def of(cls, flat: torch.Tensor, k: int, d: int, n: int, h: int) -> "_Weights":
        shapes = _shapes(k, d, n, h)
        parts = flat.split([math.prod(shape) for shape in shapes])
        return cls(*(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))


def _shapes(k: int, d: int, n: int, h: int) -> list[tuple[int, ...]]:
    return [(k, h, d + 1), (k, h, h), (k, 1, h), (k, n, h), (k, n, d + 1)]


class Residual:
    """An ensemble of K networks for delta(s, a) = s' - g(s, a), in physical units at its ends.

    Args:
        system: Gives sizes and the fixed scaling.
        members: K.
        hidden: Width of both tanh layers.
        seed: Seed of the initial weights and of the rows that fits draw.
        device: "cpu" or "cuda:N".
        dtype: Number type; float64 is for tests.
    """

    def __init__(
        self,
        system: "System",
        members: int,
        hidden: int,
        seed: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        n, d = system.state.size, system.state.size + system.action.size
        self.members, self._n, self._d, self._hidden = members, n, d, hidden

        def tensor(*parts: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(np.concatenate(parts), dtype=dtype, device=device)

        self._center = tensor(system.state.center, system.action.center)
        self._scale = tensor(system.state.scale, system.action.scale)
        self._output = torch.ones(n, dtype=dtype, device=device)  # D
        generator = torch.Generator()
        generator.manual_seed(seed)
        initial = torch.zeros(sum(map(math.prod, _shapes(members, d, n, hidden))))
        weights = self._views(initial)
        weights.first.normal_(0.0, (d + 1) ** -0.5, generator=generator)
        weights.second.normal_(0.0, hidden**-0.5, generator=generator)
        self._flat = initial.to(device, dtype)
        self._w = self._views(self._flat)
        self._adam = FlatAdam(self._flat, LEARNING_RATE)
        self._gradient = self._views(self._adam.gradient)
        self._generator = generator

    def _views(self, flat: torch.Tensor) -> _Weights:
        return _Weights.of(flat, self.members, self._d, self._n, self._hidden)

    # --- prediction -------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, state_action: torch.Tensor) -> torch.Tensor:
        """Every member's delta (K, N, n) for (N, d) states and actions."""
        return self._forward(self._inputs(state_action))[0] * self._output

    def mean(self, state_action: torch.Tensor) -> torch.Tensor:
        """The ensemble's delta (N, n) for (N, d) states and actions."""
        return self.predict(state_action).mean(0)

    def spread(self, state_action: torch.Tensor) -> torch.Tensor:
        """Disagreement (N, n): standard deviation over the members; zeros for a single one."""
        return self.predict(state_action).std(0, correction=0)

    @torch.no_grad()
    def jacobian(self, state_action: torch.Tensor, member: int | None = None) -> torch.Tensor:
        """Derivative of delta by (s, a), of the ensemble's mean, or of one member: (N, n, d).

        Args:
            state_action: (N, d)
            member: Index of a member; None for the mean.
        """
        chosen = slice(None) if member is None else slice(member, member + 1)
        w = _Weights(*(part[chosen] for part in self._w))
        # a few rows at a time stay in the cache
        parts = self._inputs(state_action).split(ROWS_AT_ONCE)
        slopes = torch.cat([self._slopes(part, w) for part in parts])
        return slopes * (self._output[:, None] / self._scale)

    def _slopes(self, x: torch.Tensor, w: _Weights) -> torch.Tensor:
        """Mean over the members of the derivative of outputs by inputs, both scaled (N, n, d)."""
        _, h1, h2 = self._forward(x, w)
        k, rows, hidden = h1.shape
        # from the outputs back to the inputs: n rows of width H for every row of the batch
        back = w.head[:, None] * (1.0 - h2 * h2)[:, :, None]
        back = torch.bmm(back.view(k, rows * self._n, hidden), w.second)
        back = back.view(k, rows, self._n, hidden).mul_((1.0 - h1 * h1)[:, :, None])
        slopes = torch.bmm(back.view(k, rows * self._n, hidden), w.first[:, :, :-1])
        slopes = slopes.view(k, rows, self._n, self._d).add_(w.linear[:, None, :, :-1])
        return slopes.mean(0)

    def _inputs(self, state_action: torch.Tensor) -> torch.Tensor:
        x = self._flat.new_ones(len(state_action), self._d + 1)
        x[:, :-1] = (state_action.to(self._flat.device) - self._center) / self._scale
        return x

    def _forward(
        self, x: torch.Tensor, w: _Weights | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Outputs in units of D (K, N, n) and both layers, of (N, d + 1) or (K, N, d + 1)."""
        w = self._w if w is None else w
        x = x.expand(len(w.first), *x.shape[-2:])
        h1 = torch.bmm(x, w.first.mT).tanh_()
        h2 = torch.baddbmm(w.second_bias, h1, w.second.mT).tanh_()
        return torch.baddbmm(torch.bmm(x, w.linear.mT), h2, w.head.mT), h1, h2

    # --- fitting ----------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, state_action: torch.Tensor, delta: torch.Tensor, steps: int) -> Fit:
        """Goes on from the weights there are, with Adam on the squared error in units of D.

        A fifth of the rows is held out; the weights that predict those best are kept, among them
        those of before, so that a first fit does no worse on them than the nominal model. Members
        differ in their initial weights and in the rows that they draw.

        Args:
            state_action: (N, d), at least five rows, in the order in which they came.
            delta: (N, n) measured s' - g(s, a), both on the same sheet.
            steps: Most steps to make.

        Raises:
            UserError: Too few rows.
        """
        if len(delta) < HELD_OUT:
            raise UserError(f"{len(delta)} rows to fit a residual; at least {HELD_OUT} are needed")
        self._rescale(delta)
        x, target = self._inputs(state_action), delta / self._output
        block = min(BLOCK, len(x) // HELD_OUT)
        held_out = torch.arange(len(x), device=x.device) // block % HELD_OUT == HELD_OUT - 1
        test_x, test_target = x[held_out], target[held_out]
        x, target = x[~held_out], target[~held_out]
        before = _rms(test_target)
        best, kept, since, made = self._error(test_x, test_target), self._flat.clone(), 0, 0
        while made < steps and since < PATIENCE:
            for _ in range(min(LOOK_INTERVAL, steps - made)):
                shape = (self.members, min(ROWS_PER_STEP, len(x)))
                drawn = torch.randint(len(x), shape, generator=self._generator).to(x.device)
                self.loss_gradient(x[drawn], target[drawn])
                self._adam.gradient.add_(self._flat, alpha=WEIGHT_DECAY)
                self._adam.step()
                made += 1
            error = self._error(test_x, test_target)
            since += 1
            if error < best:
                best, since = error, 0
                kept.copy_(self._flat)
        self._flat.copy_(kept)
        return Fit(before, best)

    def loss_gradient(self, x: torch.Tensor, target: torch.Tensor) -> None:
        """Derivative of the members' summed losses, half the mean square; outliers pull less.

        Args:
            x: (K, N, d + 1) inputs.
            target: (K, N, n) in units of D.
        """
        w, out = self._w, self._gradient
        y, h1, h2 = self._forward(x)
        dy = (y - target).clamp_(-OUTLIER, OUTLIER).div_(y.shape[1] * y.shape[2])
        torch.bmm(dy.mT, x, out=out.linear)
        torch.bmm(dy.mT, h2, out=out.head)
        back = torch.bmm(dy, w.head).mul_(1.0 - h2 * h2)
        torch.bmm(back.mT, h1, out=out.second)
        torch.sum(back, 1, keepdim=True, out=out.second_bias)
        back = torch.bmm(back, w.second).mul_(1.0 - h1 * h1)
        torch.bmm(back.mT, x, out=out.first)

    def _error(self, x: torch.Tensor, target: torch.Tensor) -> float:
        """Root mean square error of the ensemble's mean in units of D, outliers cut."""
        return _rms(self._forward(x)[0].mean(0) - target)

    def _rescale(self, delta: torch.Tensor) -> None:
        """Takes D from the data, without changing what the networks predict."""
        size = delta.abs()
        # without the largest two percent: a fall or a collision must not hide the rest
        cut = torch.minimum(size, size.kthvalue(math.ceil(0.98 * len(size)), 0).values)
        new = cut.square().mean(0).sqrt()
        new = torch.maximum(new, SMALLEST_SCALE * self._scale[: self._n])
        ratio = (self._output / new)[:, None]
        self._w.head.mul_(ratio)
        self._w.linear.mul_(ratio)
        self._output.copy_(new)

    # --- checkpoints ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of everything that predictions and later fits depend on, on the CPU."""
        tensors = {
            "sizes": torch.tensor([self.members, self._d, self._n, self._hidden]),
            "weights": self._flat,
            "output": self._output,
            "generator": self._generator.get_state(),
            **{f"adam.{k}": v for k, v in self._adam.state_dict().items()},
        }
        return {name: value.detach().cpu().clone() for name, value in tensors.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restores what `state_dict` gave: later fits are bit-equal.

        Raises:
            UserError: The networks have other sizes.
        """
        saved, here = state["sizes"].tolist(), [self.members, self._d, self._n, self._hidden]
        if saved != here:
            raise UserError(
                f"the saved residual has (members, inputs, outputs, hidden) = {saved}, here they "
                f"are {here}; use the model settings of the saved run"
            )
        self._flat.copy_(state["weights"])
        self._output.copy_(state["output"])
        self._generator.set_state(state["generator"].cpu())
        self._adam.load_state_dict(state, "adam.")


def _rms(error: torch.Tensor) -> float:
    """Root mean square, outliers cut."""
    return float(error.clamp(-OUTLIER, OUTLIER).square_().mean().sqrt())

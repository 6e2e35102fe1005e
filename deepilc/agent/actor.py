"""The policy network in closed form: squashed Gaussian or deterministic.

    k1 = relu(V1 z + c1),  k2 = relu(V2 k1 + c2),  head = V3 k2 + c3

Gaussian: head = (mean, log_std), y = mean + exp(clip(log_std)) noise, u = tanh(y), with
log pi(u) = sum log N(y; mean, std) - sum log(1 - u^2) over coordinates. Deterministic:
u = tanh(head), no entropy. The action in physical units is b + T u.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

__all__ = [
    "LOG_STD_MAX",
    "LOG_STD_MIN",
    "ActorPass",
    "ActorWeights",
    "actor_size",
    "initialise_actor",
]

Kind = Literal["gaussian", "deterministic"]

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_relu_backward = torch.ops.aten.threshold_backward.grad_input  # grad where output > 0, else 0


class ActorWeights(NamedTuple):
    """Views of a flat tensor; H is the width of both layers, p = 2m (gaussian) or m outputs.

    Attributes:
        first: (H, n + 1) weight of the first layer, its bias in the last column.
        second: (H, H)
        second_bias: (H,)
        head: (p, H)
        head_bias: (p,)
    """

    first: torch.Tensor
    second: torch.Tensor
    second_bias: torch.Tensor
    head: torch.Tensor
    head_bias: torch.Tensor

    @classmethod
    def of(cls, flat: torch.Tensor, states: int, outputs: int, hidden: int) -> "ActorWeights":
        """The views of `flat`, which holds `actor_size(...)` numbers."""
        shapes = _shapes(states, outputs, hidden)
        parts = flat.split([math.prod(shape) for shape in shapes])
        return cls(*(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))


def _shapes(n: int, p: int, h: int) -> list[tuple[int, ...]]:
    return [(h, n + 1), (h, h), (h,), (p, h), (p,)]


def actor_size(states: int, outputs: int, hidden: int) -> int:
    """Number of weights."""
    return sum(math.prod(shape) for shape in _shapes(states, outputs, hidden))


def initialise_actor(weights: ActorWeights, actions: int, generator: torch.Generator) -> None:
    """Xavier-uniform weights, zero biases; mean and log_std count as layers of their own."""
    hidden, inputs = weights.first.shape
    layers = (
        (weights.first[:, :-1], inputs - 1 + hidden),
        (weights.second, 2 * hidden),
        (weights.head, hidden + actions),
    )
    for weight, fans in layers:
        bound = (6.0 / fans) ** 0.5
        weight.uniform_(-bound, bound, generator=generator)
    for bias in (weights.first[:, -1], weights.second_bias, weights.head_bias):
        bias.zero_()


@dataclass(frozen=True)
class Acted:
    """What a policy did at N states, and how that depends on them while its noise is held fixed.

    Attributes:
        action: (N, m) physical units.
        log_probability: (N,) as entropy counts it; of no meaning if deterministic.
        action_gradient: (N, m, n) derivative by the state, physical units.
        log_probability_gradient: (N, n) derivative by the state, through the action too.
    """

    action: torch.Tensor
    log_probability: torch.Tensor
    action_gradient: torch.Tensor
    log_probability_gradient: torch.Tensor


class ActorPass:
    """Workspace for N rows, and the passes over it.

    Args:
        rows: N.
        states: n.
        actions: m.
        hidden: H.
        kind: Gaussian or deterministic.
        dtype: Number type.
        device: Where to compute.
    """

    def __init__(
        self,
        rows: int,
        states: int,
        actions: int,
        hidden: int,
        kind: Kind,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.gaussian = kind == "gaussian"
        self.actions = actions
        outputs = (2 if self.gaussian else 1) * actions

        def empty(*shape: int) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        self._x = torch.ones(rows, states + 1, dtype=dtype, device=device)
        self._k1, self._k2 = empty(rows, hidden), empty(rows, hidden)
        self._back1, self._back2 = empty(rows, hidden), empty(rows, hidden)
        self._head = empty(rows, outputs)
        self._spread = empty(rows, actions)
        self.input = self._x[:, :-1]
        """(N, n) write the (scaled) states here, then call `forward`."""
        self.noise = empty(rows, actions)
        """(N, m) standard normal numbers, written before `forward`; unused if deterministic."""
        self.action = empty(rows, actions)
        """(N, m) u in [-1, 1]."""
        self.log_probability = torch.zeros(rows, dtype=dtype, device=device)
        """(N,) log pi(u); zero if deterministic."""

    def forward(self, w: ActorWeights) -> None:
        """Fills `action` and `log_probability` for `input` and `noise`."""
        torch.mm(self._x, w.first.T, out=self._k1).relu_()
        torch.addmm(w.second_bias, self._k1, w.second.T, out=self._k2).relu_()
        head = torch.addmm(w.head_bias, self._k2, w.head.T, out=self._head)
        if not self.gaussian:
            torch.tanh(head, out=self.action)
            return
        mean, log_std = head.split(self.actions, 1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        torch.mul(log_std.exp(), self.noise, out=self._spread)
        y = mean + self._spread
        torch.tanh(y, out=self.action)
        # -log(1 - tanh(y)^2) = 2 (y + softplus(-2y) - log 2), exact also where tanh saturates
        squash = torch.nn.functional.softplus(-2.0 * y).add_(y).mul_(2.0)
        density = squash.sub_(log_std).addcmul_(self.noise, self.noise, value=-0.5)
        torch.sum(density, 1, out=self.log_probability)
        self.log_probability.sub_(self.actions * (_LOG_SQRT_2PI + 2.0 * math.log(2.0)))

    def head_gradient(
        self, rows: slice, du: torch.Tensor, dlog_probability: float | torch.Tensor
    ) -> torch.Tensor:
        """Derivative of a loss L(u, log pi) with respect to the head, with the noise held fixed.

        Args:
            rows: Rows of the last `forward`.
            du: (rows, m) dL/du.
            dlog_probability: dL/dlog pi, the same number for every row.

        Returns:
            (rows, p)
        """
        u = self.action[rows]
        # du/dy = 1 - u^2 and dlog pi/dy = 2u at fixed noise
        dy = du * (1.0 - u * u)
        if not self.gaussian:
            return dy
        dy += 2.0 * dlog_probability * u
        log_std = self._head[rows, self.actions :]
        inside = (log_std >= LOG_STD_MIN) & (log_std <= LOG_STD_MAX)
        dlog_std = (dy * self._spread[rows] - dlog_probability) * inside
        return torch.cat((dy, dlog_std), 1)

    def input_gradient(self, w: ActorWeights, rows: slice, dhead: torch.Tensor) -> torch.Tensor:
        """Derivative (rows, n) of a loss with respect to `input`, from its `head_gradient`."""
        return torch.mm(self._back_to_first(w, rows, dhead), w.first[:, :-1])

    def weight_gradient(
        self, w: ActorWeights, out: ActorWeights, rows: slice, dhead: torch.Tensor
    ) -> None:
        """Derivative of a loss with respect to all weights, from its `head_gradient`."""
        back1 = self._back_to_first(w, rows, dhead)
        back2 = self._back2[rows]
        torch.mm(dhead.T, self._k2[rows], out=out.head)
        torch.sum(dhead, 0, out=out.head_bias)
        torch.mm(back2.T, self._k1[rows], out=out.second)
        torch.sum(back2, 0, out=out.second_bias)
        torch.mm(back1.T, self._x[rows], out=out.first)

    def _back_to_first(self, w: ActorWeights, rows: slice, dhead: torch.Tensor) -> torch.Tensor:
        """dL/d(first layer before its ReLU); leaves that of the second layer in `_back2`."""
        back1, back2 = self._back1[rows], self._back2[rows]
        torch.mm(dhead, w.head, out=back2)
        _relu_backward(back2, self._k2[rows], 0, grad_input=back2)
        torch.mm(back2, w.second, out=back1)
        _relu_backward(back1, self._k1[rows], 0, grad_input=back1)
        return back1

"""Tanh critics in closed form: values, input gradients, and gradients of a loss on all.

A critic with input x = (state, action) of size d is

    a1 = W1 x + b1,  h1 = tanh(y1),  a2 = W2 h1 + b2,  h2 = tanh(y2),  q = w3.h2 + b3

where y1 = a1 and y2 = a2, or with `layer_norm` a1 and a2 normalised over their H units (then the
derivatives d of q by a are J e, see `deepilc.agent.layer_norm`). The input gradient needs one
product with W2 more than the value:

    e2 = dq/dy2 = w3 (1 - h2^2),  d2 = dq/da2 = e2,
    e1 = dq/dy1 = (W2' d2) (1 - h1^2),  d1 = dq/da1 = e1,  dq/dx = W1' d1

The derivative of a loss on q *and* on dq/dx with respect to the weights follows from the tangent
of q in a direction v: sum_b v_b.dq/dx_b is the derivative of sum_b q(x_b + t v_b) at t = 0, so one
tangent pass forward and one pass back give it, without a graph (`CriticPass.loss_gradient`).
Counted in products of (N, H) with (H, H) per critic: value 1, input gradient 1, tangent 1,
weights 2, back 1. This is the minimum for these losses.

All K critics lie side by side in every tensor: weights (K, ...), activations (K, N, H). All weights
are views of one flat tensor, so the optimiser and the target update are one operation each.
"""

from typing import NamedTuple

import torch

from deepilc.agent.layer_norm import LayerNorm

__all__ = ["CriticPass", "CriticWeights", "critic_size", "initialise_critic"]

_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - output^2) in one pass


class CriticWeights(NamedTuple):
    """Views of a flat tensor; H is the width of both layers, d the size of the input.

    Attributes:
        first: (K, H, d + 1) weight of the first layer, its bias in the last column.
        second: (K, H, H) weight of the second layer.
        second_bias: (K, 1, H)
        last: (K, 1, H) weight of the output.
        last_bias: (K, 1, 1)
    """

    first: torch.Tensor
    second: torch.Tensor
    second_bias: torch.Tensor
    last: torch.Tensor
    last_bias: torch.Tensor

    @classmethod
    def of(cls, flat: torch.Tensor, inputs: int, hidden: int, critics: int = 2) -> "CriticWeights":
        """The views of `flat`, which holds `critic_size(inputs, hidden, critics)` numbers."""
        shapes = _shapes(inputs, hidden, critics)
        parts = flat.split([a * b * c for a, b, c in shapes])
        return cls(*(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))


def _shapes(d: int, h: int, k: int) -> list[tuple[int, int, int]]:
    return [(k, h, d + 1), (k, h, h), (k, 1, h), (k, 1, h), (k, 1, 1)]


def critic_size(inputs: int, hidden: int, critics: int = 2) -> int:
    """Number of weights of all critics."""
    return sum(a * b * c for a, b, c in _shapes(inputs, hidden, critics))


def initialise_critic(weights: CriticWeights, generator: torch.Generator) -> None:
    """Xavier-uniform weights, zero biases."""
    for k in range(len(weights.first)):
        for weight in (weights.first[k, :, :-1], weights.second[k], weights.last[k]):
            bound = (6.0 / sum(weight.shape)) ** 0.5
            weight.uniform_(-bound, bound, generator=generator)
    weights.first[:, :, -1].zero_()
    weights.second_bias.zero_()
    weights.last_bias.zero_()


class CriticPass:
    """Workspace for N rows, and the passes over it.

    Call `forward` first; the other passes use its activations. Results stay valid until the next
    `forward`.

    Args:
        rows: N.
        inputs: d.
        hidden: H.
        dtype: Number type.
        device: Where to compute. Off the CPU, shapes never depend on data (no synchronisation
            with the host, so that updates can be captured in a CUDA graph).
        precision: Number type that the products with (H, H) are rounded to; their sums are float32.
        critics: K.
        layer_norm: Whether the inputs of tanh are normalised over the units of their layer.
    """

    def __init__(
        self,
        rows: int,
        inputs: int,
        hidden: int,
        dtype: torch.dtype,
        device: torch.device,
        precision: torch.dtype | None = None,
        critics: int = 2,
        layer_norm: bool = False,
    ) -> None:
        n, h, d, c = rows, hidden, inputs, critics

        def empty(*shape: int) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        self.static_shapes = device.type != "cpu"
        self._precision = dtype if precision is None else precision
        self._rounded = self._precision != dtype
        # The first N rows belong to q, the last N to its tangent; side by side, one product
        # gives the gradient of a weight from both. All views are made here, once.
        self._x = torch.zeros(c, 2 * n, d + 1, dtype=dtype, device=device)
        self._x[:, :n, d] = 1.0
        self._x_q, self._x_tangent = self._x.split(n, 1)
        self._v = self._x_tangent[:, :, :d]
        self._h1 = empty(c, 2 * n, h)
        self._h1_q, self._h1_tangent = self._h1.split(n, 1)
        self._back1 = empty(c, 2 * n, h)
        self._r1, self._d1 = self._back1.split(n, 1)
        self._back2 = empty(c, 2 * n, h)
        self._r2, self._d2 = self._back2.split(n, 1)
        self._h2 = empty(c, n, h)
        self._tangent1, self._tangent2 = empty(c, n, h), empty(c, n, h)
        self._norm1 = self._norm2 = None
        self._a1, self._a2 = self._h1_q, self._h2
        # by and of y, where that is not a
        self._e1, self._e2 = self._d1, self._d2
        self._normal1, self._normal2 = self._tangent1, self._tangent2
        if layer_norm:
            self._norm1 = LayerNorm(c, n, h, dtype, device)
            self._norm2 = LayerNorm(c, n, h, dtype, device)
            self._a1, self._a2 = self._norm1.input, self._norm2.input
            self._e1, self._e2 = empty(c, n, h), empty(c, n, h)
            self._normal1, self._normal2 = empty(c, n, h), empty(c, n, h)
        self._q = empty(c, n)
        self._gradient = empty(c, n, d + 1)
        self._chosen = empty(n, d + 1)
        self._ones = torch.ones(c, 1, n, dtype=dtype, device=device)
        self.input = self._x[0, :n, :d]
        """(N, d) write the inputs here, then call `forward`."""

    def forward(self, w: CriticWeights) -> torch.Tensor:
        """Values (K, N) of all critics at `input`."""
        self._x_q[1:] = self._x_q[0]
        self._second = w.second.to(self._precision)
        torch.bmm(self._x_q, w.first.mT, out=self._a1)
        torch.tanh(self._a1 if self._norm1 is None else self._norm1.forward(), out=self._h1_q)
        if self._rounded:
            self._product(self._h1_q, self._second.mT, out=self._a2).add_(w.second_bias)
        else:
            torch.baddbmm(w.second_bias, self._h1_q, w.second.mT, out=self._a2)
        torch.tanh(self._a2 if self._norm2 is None else self._norm2.forward(), out=self._h2)
        for k in range(len(self._q)):
            torch.mv(self._h2[k], w.last[k, 0], out=self._q[k])
        return self._q.add_(w.last_bias[:, 0])

    def input_gradient(self, w: CriticWeights) -> torch.Tensor:
        """dq/dx (K, N, d) of all critics."""
        d1, d2, e1, e2 = self._d1, self._d2, self._e1, self._e2
        _tanh_backward(w.last.expand_as(e2), self._h2, grad_input=e2)
        if self._norm2 is not None:
            self._norm2.product(e2, out=d2)
        self._product(d2, self._second, out=e1)
        _tanh_backward(e1, self._h1_q, grad_input=e1)
        if self._norm1 is not None:
            self._norm1.product(e1, out=d1)
        return torch.bmm(d1, w.first, out=self._gradient)[:, :, :-1]

    def chosen_input_gradient(self, w: CriticWeights, critic: torch.Tensor) -> torch.Tensor:
        """dq/dx (N, d) of one critic per row, at the cost of one critic.

        Args:
            w: Weights of the last `forward`.
            critic: (N,) index of the critic that is meant.
        """
        if self.static_shapes:
            every = self.input_gradient(w)
            return every.gather(0, critic[None, :, None].expand(1, *every.shape[1:]))[0]
        for k in range(len(self._q)):
            rows = (critic == k).nonzero()[:, 0]
            d2 = self._h2[k].index_select(0, rows)
            _tanh_backward(w.last[k].expand_as(d2), d2, grad_input=d2)
            if self._norm2 is not None:
                d2 = self._norm2.product_of(d2, k, rows)
            d1 = torch.mm(d2.to(self._precision), self._second[k]).to(d2.dtype)
            _tanh_backward(d1, self._h1_q[k].index_select(0, rows), grad_input=d1)
            if self._norm1 is not None:
                d1 = self._norm1.product_of(d1, k, rows)
            self._chosen.index_copy_(0, rows, torch.mm(d1, w.first[k]))
        return self._chosen[:, :-1]

    def loss_gradient(
        self,
        w: CriticWeights,
        out: CriticWeights,
        dq: torch.Tensor,
        dgradient: torch.Tensor | None = None,
    ) -> None:
        """Derivative of a loss L(q, dq/dx) with respect to all weights.

        Args:
            w: Weights of the last `forward`.
            out: Where to write the derivatives.
            dq: (K, N) dL/dq.
            dgradient: (K, N, d) dL/d(dq/dx), after `input_gradient`; None if L has no such part.
        """
        e = dq[:, :, None]
        h1, h2, r1, r2 = self._h1_q, self._h2, self._r1, self._r2
        torch.bmm(e.mT, h2, out=out.last)
        if dgradient is None:
            torch.mul(e, w.last, out=r2)
            _tanh_backward(r2, h2, grad_input=r2)
            if self._norm2 is not None:
                self._norm2.product(r2, out=r2)
            self._product(r2, self._second, out=r1)
            _tanh_backward(r1, h1, grad_input=r1)
            if self._norm1 is not None:
                self._norm1.product(r1, out=r1)
            self._product(r2.mT, h1, out=out.second)
            torch.bmm(r1.mT, self._x_q, out=out.first)
        else:
            self._tangent(w, dgradient)
            y1, y2 = self._normal1, self._normal2
            torch.addcmul(e, h2, y2, value=-2, out=r2)
            r2.mul_(self._e2)
            if self._norm2 is not None:
                self._norm2.back(r2, self._e2, self._tangent2, y2)
            _tanh_backward(y2, h2, grad_input=y2)
            torch.baddbmm(out.last, self._ones, y2, out=out.last)
            self._product(r2, self._second, out=r1)
            _tanh_backward(r1, h1, grad_input=r1)
            r1.addcmul_(y1 * h1, self._e1, value=-2)
            if self._norm1 is not None:
                self._norm1.back(r1, self._e1, self._tangent1, y1)
            self._product(self._back2.mT, self._h1, out=out.second)
            torch.bmm(self._back1.mT, self._x, out=out.first)
        torch.bmm(self._ones, r2, out=out.second_bias)
        torch.sum(e, 1, keepdim=True, out=out.last_bias)

    def second_weight_norm(
        self,
        w: CriticWeights,
        out: torch.Tensor,
        dq: torch.Tensor | None = None,
        dgradient: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Norm of a loss's derivative with respect to the first critic's second weight.

        After `input_gradient` and before `loss_gradient`. Eq. 18 compares this for the parts of
        the loss.

        Args:
            w: Weights of the last `forward`.
            out: (H, H) space for the derivative.
            dq: (N,) dL/dq of the first critic, for a loss on q alone.
            dgradient: (N, d) dL/d(dq/dx) of the first critic, for a loss on dq/dx alone.

        Returns:
            ()
        """
        h1, h2, r2 = self._h1_q[0], self._h2[0], self._r2[0]
        if dq is not None:
            torch.mul(dq[:, None], self._d2[0], out=r2)
            return torch.mm(r2.T, h1, out=out).norm()
        assert dgradient is not None
        torch.mm(dgradient, w.first[0, :, :-1].T, out=self._tangent1[0])
        if self._norm1 is not None:
            self._norm1.product(self._tangent1[:1], out=self._normal1[:1])
        _tanh_backward(self._normal1[0], h1, grad_input=self._h1_tangent[0])
        torch.mm(self._h1_tangent[0], w.second[0].T, out=self._tangent2[0])
        if self._norm2 is not None:
            self._norm2.product(self._tangent2[:1], out=self._normal2[:1])
        torch.mul(self._normal2[0], h2, out=r2).mul_(self._e2[0]).mul_(-2.0)
        if self._norm2 is not None:
            first = (x[:1] for x in (self._r2, self._e2, self._tangent2, self._normal2))
            self._norm2.back(*first)
        return torch.mm(self._back2[0].T, self._h1[0], out=out).norm()

    def _tangent(self, w: CriticWeights, v: torch.Tensor) -> None:
        """Tangents of a1, y1, h1, a2 and y2 when the input moves in direction v (K, N, d)."""
        self._v.copy_(v)
        torch.bmm(self._x_tangent, w.first.mT, out=self._tangent1)
        if self._norm1 is not None:
            self._norm1.product(self._tangent1, out=self._normal1)
        _tanh_backward(self._normal1, self._h1_q, grad_input=self._h1_tangent)
        self._product(self._h1_tangent, self._second.mT, out=self._tangent2)
        if self._norm2 is not None:
            self._norm2.product(self._tangent2, out=self._normal2)

    def _product(self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Writes a b to `out`, with factors and result rounded to `precision`, and returns it."""
        if not self._rounded:
            return torch.bmm(a, b, out=out)
        return out.copy_(torch.bmm(a.to(self._precision), b.to(self._precision)))

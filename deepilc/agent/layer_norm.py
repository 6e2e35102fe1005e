"""Normalisation of a layer over its units, and its derivatives in closed form.

For one row a of H numbers, with mean m and standard deviation s over the units,

    y = (a - m) / s,    dy/da = J,    J g = (g - mean g - y mean(g y)) / s

J is symmetric, so the same product takes gradients back and tangents forward. There is no gain and
no bias. (Ba, Kiros and Hinton, 2016, "Layer normalization".)
"""

import torch

__all__ = ["LayerNorm"]

EPSILON = 1e-5
"""Added to the variance."""


class LayerNorm:
    """Workspace for N rows of K critics, and the passes over it.

    Args:
        critics: K.
        rows: N.
        hidden: H.
        dtype: Number type.
        device: Where to compute.
    """

    def __init__(
        self, critics: int, rows: int, hidden: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.input = torch.empty(critics, rows, hidden, dtype=dtype, device=device)
        """(K, N, H) write a here, then call `forward`."""

    def forward(self) -> torch.Tensor:
        """Normalises `input`; y (K, N, H) stays valid until the next `forward`."""
        a = self.input
        normalised = torch.native_layer_norm(a, a.shape[-1:], None, None, EPSILON)
        self._y, self._mean, self._inverse = normalised  # y, m, 1 / s
        return self._y

    def product(self, g: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """J g (K, N, H) of all rows; of the first critics only where `g` has fewer."""
        k = len(g)
        return out.copy_(_product(g, self.input[:k], self._mean[:k], self._inverse[:k]))

    def product_of(self, g: torch.Tensor, critic: int, rows: torch.Tensor) -> torch.Tensor:
        """J g (R, H) of some rows of one critic."""
        kept = (x[critic].index_select(0, rows) for x in (self.input, self._mean, self._inverse))
        return _product(g, *kept)

    def back(
        self,
        gradient: torch.Tensor,
        tangent_gradient: torch.Tensor,
        tangent: torch.Tensor,
        result: torch.Tensor,
    ) -> torch.Tensor:
        """Gradient by a of a loss L(y, J t), in place of the one by y; shapes as in `product`.

        With l = dL/dy and k = dL/d(J t), and since J depends on a through y and s,

            dL/da = J (l - (k mean(t y) + t mean(k y)) / s) - y mean(k (J t)) / s

        Args:
            gradient: l; becomes dL/da.
            tangent_gradient: k.
            tangent: t.
            result: J t.
        """
        y, inverse = self._y[: len(gradient)], self._inverse[: len(gradient)]
        share = inverse * (-1.0 / y.shape[-1])
        gradient.addcmul_(tangent_gradient, _dot(tangent, y).mul_(share))
        gradient.addcmul_(tangent, _dot(tangent_gradient, y).mul_(share))
        self.product(gradient, out=gradient)
        return gradient.addcmul_(y, _dot(tangent_gradient, result).mul_(share))


def _product(
    g: torch.Tensor, a: torch.Tensor, mean: torch.Tensor, inverse: torch.Tensor
) -> torch.Tensor:
    # the kernel recomputes y, which is faster than five elementwise passes with the kept one
    only_input = [True, False, False]
    return torch.ops.aten.native_layer_norm_backward(
        g, a, a.shape[-1:], mean, inverse, None, None, only_input
    )[0]


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vecdot(a, b)[..., None]

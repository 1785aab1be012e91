"""Plans in which source and target are independent."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import at
from monge._checks import check_batches, check_same, check_weights
from monge._value import value
from monge.errors import InputError

from . import _validate
from ._numbers import draw, fraction, minus_x_log_x
from .base import Coupling, Rows

__all__ = ["ProductCoupling"]


@value
class ProductCoupling(Coupling):
    r"""The plan $P_{ij} = a_i b_j / \mathrm{total}$: every source point spreads its mass in proportion to b.

    Args:
        a: Weights of the source points.
        b: Weights of the target points.
        total: The divisor, one number per problem; by default the mass that a and b share, so that they are the
            marginals.

    Raises:
        InputError: If a weight is negative, a side has no mass, or the masses differ and no total is given.
        ShapeError, DtypeError, DeviceError: If the weights do not fit together.

    Example:
        >>> import torch
        >>> from monge.coupling import ProductCoupling
        >>> ProductCoupling(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0])).dense()
        tensor([[0.5000, 0.5000],
                [1.5000, 1.5000]])
    """

    a: Float[Tensor, "*b n"]
    b: Float[Tensor, "*b m"]
    total: Float[Tensor, "*b"] = None  # type: ignore[assignment]
    _sides = (("a", "b"),)
    _tells_mass = True

    def __post_init__(self) -> None:
        for name, weights in (("a", self.a), ("b", self.b)):
            check_weights(name, weights, weights.shape[-1] if isinstance(weights, Tensor) and weights.ndim else 0)
        check_same(a=self.a, b=self.b)
        if self.total is not None:
            total = torch.as_tensor(self.total, dtype=self.a.dtype, device=self.a.device)
            if not bool((total.detach() > 0).all()):
                raise InputError(f"total must be positive, but its smallest value is {float(total.min()):g}.")
            object.__setattr__(self, "total", total)
        check_batches(**self._batches())
        if self.total is None:
            _validate.equal_mass(self.a, self.b)
            object.__setattr__(self, "total", self.a.sum(-1))

    def _share(self) -> Tensor:
        """A / total, and no mass at all where the total is zero."""
        return fraction(self.a, self.total[..., None])

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return self._share()[..., :, None] * (self.b[..., None, :] @ v)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return self._share()[..., rows, None] * self.b[..., None, :]

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        return self._share() * self.b.sum(-1, keepdim=True)

    def _entropy(self) -> Float[Tensor, "*b"]:
        # An absent point has neither entropy nor a gradient.
        share, b = (part.masked_fill(part == 0, 0) for part in (self._share(), self.b))
        return minus_x_log_x(share).sum(-1) * b.sum(-1) + share.sum(-1) * minus_x_log_x(b).sum(-1)

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return at(self._share(), i) * at(self.b, j)

    def _sample_rows(self, i: Int[Tensor, "*b k"], u: Float[Tensor, "*b k"]) -> Int[Tensor, "*b k"]:
        batch = self._shape()[:-2]
        return draw(self.b.expand(*batch, self.b.shape[-1]), u.expand(*batch, u.shape[-1]))

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> ProductCoupling:
        return self._make(a=self.a * row, b=self.b * col, total=self.total)

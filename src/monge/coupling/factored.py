"""A plan of low rank."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_finite, check_floating, check_same
from monge._value import value
from monge.errors import ShapeError

from .base import Coupling, Rows

__all__ = ["FactoredCoupling"]


@value
class FactoredCoupling(Coupling):
    """Q diag(1/g) R^T: mass goes through r points between, which is what pivots and feature maps do.

    Args:
        Q: (*b, n, r).
        R: (*b, m, r).
        g: (*b, r) masses of the points between; one of mass zero passes nothing.

    Example:
        >>> import torch
        >>> Q, R = torch.full((4, 2), 0.125), torch.full((6, 2), 1 / 12)
        >>> FactoredCoupling(Q, R, torch.tensor([0.5, 0.5])).mass
        tensor(1.)
    """

    Q: Float[Tensor, "*b n r"]
    R: Float[Tensor, "*b m r"]
    g: Float[Tensor, "*b r"]
    _core: ClassVar[dict[str, int]] = {"Q": 2, "R": 2, "g": 1}

    def __post_init__(self) -> None:
        for name, factor in (("Q", self.Q), ("R", self.R), ("g", self.g)):
            check_floating(name, factor)
            check_finite(name, factor)
        check_same(Q=self.Q, R=self.R, g=self.g)
        ranks = {self.Q.shape[-1], self.R.shape[-1], self.g.shape[-1]}
        if self.Q.ndim < 2 or self.R.ndim < 2 or len(ranks) > 1:
            raise ShapeError(
                f"Q (*b, n, r), R (*b, m, r) and g (*b, r) must share r, but have shapes {tuple(self.Q.shape)}, "
                f"{tuple(self.R.shape)} and {tuple(self.g.shape)}."
            )

    def _shape(self) -> tuple[int, ...]:
        batch = torch.broadcast_shapes(self.Q.shape[:-2], self.R.shape[:-2], self.g.shape[:-1])
        return (*batch, self.Q.shape[-2], self.R.shape[-2])

    def _per_pivot(self) -> Tensor:
        present = self.g > 0
        return torch.where(present, 1 / torch.where(present, self.g, 1), 0)

    def _transpose(self) -> Coupling:
        return FactoredCoupling._make(Q=self.R, R=self.Q, g=self.g)

    def _matmul(self, v: Tensor) -> Tensor:
        return self.Q @ (self._per_pivot()[..., None] * (self.R.transpose(-1, -2) @ v))

    def _block(self, rows: Rows) -> Tensor:
        return (self.Q[..., rows, :] * self._per_pivot()[..., None, :]) @ self.R.transpose(-1, -2)

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        return FactoredCoupling._make(Q=self.Q * row[..., None], R=self.R * col[..., None], g=self.g)

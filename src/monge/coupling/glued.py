"""Two plans, one after the other."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from monge._value import value

from .base import Coupling, Rows

__all__ = ["GluedCoupling"]


@value
class GluedCoupling(Coupling):
    """P diag(1/mu) Q: from sources to targets through the points that both plans know.

    Args:
        P: (*b, n, r) plan.
        Q: (*b, r, m) plan.
        mu: (*b, r) the marginal that they share; where it is zero nothing passes.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling
        >>> P = PermutationCoupling(torch.tensor([1, 2, 0]))
        >>> P.then(P).assignment()
        tensor([2, 0, 1])
    """

    P: Coupling
    Q: Coupling
    mu: Float[Tensor, "*b r"]
    _core: ClassVar[dict[str, int]] = {"mu": 1}

    def _shape(self) -> tuple[int, ...]:
        first, second = self.P._shape(), self.Q._shape()
        return (*torch.broadcast_shapes(first[:-2], second[:-2], self.mu.shape[:-1]), first[-2], second[-1])

    def _per_mass(self) -> Tensor:
        present = self.mu > 0
        return torch.where(present, 1 / torch.where(present, self.mu, 1), 0)

    def _transpose(self) -> Coupling:
        return GluedCoupling._make(P=self.Q._transpose(), Q=self.P._transpose(), mu=self.mu)

    def _matmul(self, v: Tensor) -> Tensor:
        return self.P._matmul(self._per_mass()[..., None] * self.Q._matmul(v))

    def _block(self, rows: Rows) -> Tensor:
        first = self.P._block(rows) * self._per_mass()[..., None, :]
        return self.Q._transpose()._matmul(first.transpose(-1, -2)).transpose(-1, -2)

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        ones = torch.ones_like(self.mu)
        return GluedCoupling._make(P=self.P._scale(row, ones), Q=self.Q._scale(ones, col), mu=self.mu)

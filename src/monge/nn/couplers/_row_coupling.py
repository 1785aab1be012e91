"""Couplings from scores, for couplers whose scores are dot products."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import recompute, row_blocks
from monge._blocks import joined
from monge._value import value
from monge.coupling import Coupling
from monge.coupling.base import Rows


@value
class RowCoupling(Coupling):
    r"""$P_{ij} = a_i \mathrm{softmax}_j(q_i·k_j + p_j) b_j$, normalised row by row where it is used.

    Potentials would say the same with n + m numbers, each as inexact as the largest score: at scores of 10⁴ a single
    precision potential loses three digits of the row sums, at 10³⁰ all of them. The softmax of a row loses none.
    Blocks are computed again in a backward pass.

    Args:
        q: Queries, already scaled.
        k: Keys.
        price: One number per key, -inf on keys that are absent.
        a: One weight per row, its mass; a row without keys has none.
        b: One factor per column.
        turned: The transpose of it.
    """

    q: Float[Tensor, "*b n d"]
    k: Float[Tensor, "*b m d"]
    price: Float[Tensor, "*b m"]
    a: Float[Tensor, "*b n"]
    b: Float[Tensor, "*b m"]
    turned: bool = False

    def _shape(self) -> tuple[int, ...]:
        n, m = self.q.shape[-2], self.k.shape[-2]
        return (*self.q.shape[:-2], *((m, n) if self.turned else (n, m)))

    def _transpose(self) -> RowCoupling:
        return self._replace(turned=not self.turned, geometry=None)

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        if not self.turned:
            return joined(lambda rows: self._spread(rows) @ v, self._rows(), -2)
        total = v.new_zeros(())
        for rows in self._rows():
            total = total + recompute(lambda rows: self._spread(rows).mT @ v[..., rows, :], rows)
        return total

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        if not self.turned:
            return self._spread(rows)
        return torch.cat([self._spread(part)[..., rows] for part in self._rows()], -2).mT

    def _scale(self, row: Tensor, col: Tensor) -> RowCoupling:
        row, col = (col, row) if self.turned else (row, col)
        return self._replace(a=self.a * row, b=self.b * col)

    def _spread(self, rows: Rows) -> Tensor:
        """The rows of the plan as it stands, before it is turned."""
        logits = self.q[..., rows, :] @ self.k.mT + self.price[..., None, :]
        empty = (self.price == -math.inf).all(-1)[..., None, None]
        weights = torch.softmax(logits.masked_fill(empty, 0.0), -1).masked_fill(empty, 0.0)
        return weights * self.a[..., rows, None] * self.b[..., None, :]

    def _rows(self) -> list[slice]:
        return row_blocks(self.q.shape[-2], 4 * self.q.shape[:-2].numel() * self.k.shape[-2])

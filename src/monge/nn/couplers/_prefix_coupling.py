"""A coupling that is the lower triangle of a low-rank matrix."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._value import value
from monge.coupling import Coupling
from monge.coupling.base import Rows

from ..functional._prefix_sums import prefix_matmul


@value
class PrefixCoupling(Coupling):
    r"""$P_{ij} = Q_i·R_j$ for j <= i, else 0: what a causal layer with a state of r numbers per value realises.

    ``P @ v`` is a sum over prefixes in chunks, linear in n; the transpose runs backwards.

    Args:
        Q: Left factors, non-negative.
        R: Right factors, as many.
        backward: The upper triangle instead, $P_{ij}$ for j >= i.

    Example:
        >>> from monge.nn.couplers import PrefixCoupling
        >>> PrefixCoupling(Q=torch.tensor([[0.5], [0.25]]), R=torch.ones(2, 1)).dense()
        tensor([[0.5000, 0.0000],
                [0.2500, 0.2500]])
    """

    Q: Float[Tensor, "*b n r"]
    R: Float[Tensor, "*b n r"]
    backward: bool = False

    def _shape(self) -> tuple[int, ...]:
        n = self.Q.shape[-2]
        return (*self.Q.shape[:-2], n, n)

    def _transpose(self) -> PrefixCoupling:
        return self._make(Q=self.R, R=self.Q, backward=not self.backward)

    def _matmul(self, v: Float[Tensor, "*b n k"]) -> Float[Tensor, "*b n k"]:
        if self.backward:
            return prefix_matmul(self.Q.flip(-2), self.R.flip(-2), v.flip(-2)).flip(-2)
        return prefix_matmul(self.Q, self.R, v)

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        return self._make(Q=self.Q * row[..., None], R=self.R * col[..., None], backward=self.backward)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k n"]:
        index = torch.arange(self.Q.shape[-2], device=self.Q.device)
        i, j = index[rows][:, None], index
        reached = j >= i if self.backward else j <= i
        return (self.Q[..., rows, :] @ self.R.mT) * reached

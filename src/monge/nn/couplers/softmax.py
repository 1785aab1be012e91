"""The row-anchored coupler: softmax attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge.coupling import Coupling, DenseCoupling

from ..functional._heads import Heads
from ..functional._padding import scale_of, uniform, unless_scored
from ..functional.softmax import softmax_read
from ._coupler import Coupler, Promise
from ._row_coupling import RowCoupling

__all__ = ["Softmax"]


class Softmax(Coupler):
    r"""$\mathrm{diag}(a)\,\mathrm{softmax}(s Q K^T)$: exact rows, and no condition on columns.

    Args:
        scale: $s$, $d^{-1/2}$ if None.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="softmax")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Vaswani et al., Attention is all you need, arXiv 1706.03762.
    """

    name = "softmax"
    promise = Promise.of_rows(time="n² d", memory="n", causal="optional", pairs=True, source="arXiv 1706.03762")

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale

    def _couple(self, heads: Heads) -> Coupling:
        q, k = heads.q, heads.k
        a = uniform(q, heads.query_padding)
        q = q * scale_of(q, self.scale)
        q = q + unless_scored(q, k, 1.0, causal=heads.causal)
        if heads.pair_mask is None and not heads.causal:
            price = k.new_zeros(k.shape[:-1])
            price = price if heads.key_padding is None else price.masked_fill(heads.key_padding, -math.inf)
            return RowCoupling._make(q=q, k=k, price=price, a=a, b=torch.ones_like(price))
        mask, dead = heads.mask(order=True)
        scores = q @ k.mT
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
        plan = torch.softmax(scores, -1) * a[..., None]
        plan = plan if dead is None else plan.masked_fill(dead, 0.0)
        return DenseCoupling._make(matrix=plan)

    def _attend(self, heads: Heads, v: Tensor, dropout: float) -> Tensor:
        return softmax_read(heads, v, self.scale, dropout)

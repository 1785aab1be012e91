"""The row-anchored coupler: softmax attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...coupling import Coupling, DenseCoupling
from ..functional._padding import at_least_single, full_precision, scale_of, uniform, unless_scored
from ..functional.softmax import merge_masks, softmax_attention
from ._anchor import RowCoupling
from ._base import Coupler, Promise

__all__ = ["Softmax"]


class Softmax(Coupler):
    r"""diag(a) softmax(s Q K^T): every query spreads its mass by an exponential of scores; no price on keys.

    Args:
        scale: s, d^{-1/2} if None.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="softmax")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True
    """

    name = "softmax"
    promise = Promise(
        rows=1e-5,
        columns=None,
        exactness="rows exact, columns free",
        time="n² d",
        memory="n",
        causal="optional",
        pairs=True,
        square=False,
        gradient="exact",
        source="arXiv 1706.03762",
    )

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale

    def _couple(
        self,
        q: Tensor,
        k: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
    ) -> Coupling:
        q, k = at_least_single(q, k)
        with full_precision(q):
            a = uniform(q, query_padding)
            q = q * scale_of(q, self.scale)
            q = q + unless_scored(q, k, 1.0, causal=causal)
            if pairs is None and not causal:
                price = k.new_zeros(k.shape[:-1])
                price = price if key_padding is None else price.masked_fill(key_padding, -math.inf)
                return RowCoupling._make(q=q, k=k, price=price, a=a, b=torch.ones_like(price))
            if causal:
                order = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)
                pairs = order if pairs is None else forbid(pairs, order)
            mask, dead = merge_masks(q, k, key_padding, pairs, False)
            scores = q @ k.mT
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
            plan = torch.softmax(scores, -1) * a[..., None]
            plan = plan if dead is None else plan.masked_fill(dead, 0.0)
            return DenseCoupling._make(matrix=plan)

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
        dropout: float,
    ) -> Tensor:
        return softmax_attention(
            q, k, v, scale=self.scale, query_padding=query_padding, key_padding=key_padding,
            pairs=pairs, causal=causal, dropout=dropout,
        )  # fmt: skip


def forbid(pairs: Tensor, more: Tensor) -> Tensor:
    """The mask of pairs with some more of them forbidden."""
    return pairs | more if pairs.dtype == torch.bool else pairs.masked_fill(more, -math.inf)

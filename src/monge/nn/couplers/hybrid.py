"""A few special tokens by softmax, the others by another coupler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from monge.coupling import Coupling, SumCoupling
from monge.errors import InputError

from ..functional._heads import Heads
from ..functional._padding import blank
from ._coupler import Coupler, Promise, touched
from .registered import build
from .softmax import Softmax

__all__ = ["Hybrid"]


class Hybrid(Coupler):
    """The first ``special`` tokens, such as a class token, read all tokens by softmax; the others use ``inner``.

    In a doubly stochastic layer, all tokens together read a class token with one share of attention, so that each of
    them reads little of it, and the class token cannot read much of any single token. This coupler keeps the class
    token outside of the balance.

    Args:
        inner: The coupler of the other tokens.
        special: How many tokens come first.
        readable: Whether the other tokens may read the special ones too, as keys of ``inner``.
        scale: $s$ of the softmax, $d^{-1/2}$ if None.

    Example:
        >>> from monge.nn.couplers import Hybrid, Pivots
        >>> attention = monge.nn.Attention(16, 2, coupler=Hybrid(Pivots(2, 8), special=1))
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Shahbazi, Thrash, Bai, Hamm, NaderiAlizadeh, Kolouri, LOTFormer: Doubly-stochastic linear attention via
    low-rank optimal transport, arXiv 2509.23436.
    """

    name = "hybrid"
    promise = Promise(
        rows=1e-5,
        columns=None,
        exactness="rows exact; among the other tokens as the inner coupler",
        time="special n d + the inner coupler",
        memory="as the inner coupler",
        square=True,
        gradient="as the inner coupler",
        source="arXiv 2509.23436",
    )
    why_not_causal = "its special tokens read the whole sequence"

    def __init__(self, inner: Coupler, special: int = 1, *, readable: bool = False, scale: float | None = None) -> None:
        super().__init__()
        if special < 1:
            raise InputError(f"special must be at least 1, but is {special}: without special tokens use inner alone.")
        if readable and inner.promise.square:
            raise InputError(
                f"{type(inner).__name__} couples equally many queries and keys, so its queries cannot read special "
                "tokens as well: use readable=False."
            )
        self.inner, self.outer = inner, Softmax(scale)
        self.jumps = inner.jumps
        # The other tokens are cut out of both sides, with one padding.
        self.one_sequence = not readable
        self.special, self.readable = special, readable

    @classmethod
    def build(cls, heads: int, width: int, *, inner: str = "pivots", special: int = 1, **options: Any) -> Self:
        """Pivots if no other inner coupler is named; ``options`` are those of the inner coupler."""
        return cls(build(inner, heads, width, **options), special)

    def _attend(self, heads: Heads, v: Tensor, dropout: float) -> Tensor:
        cut, padding = self.special, heads.query_padding
        lead, rest = (None, None) if padding is None else (padding[..., :cut], padding[..., cut:])
        first = self.outer._attend(heads._replace(q=heads.q[..., :cut, :], query_padding=lead), v, dropout)
        if heads.q.shape[-2] <= cut:
            return touched(first, *self.inner.parameters())
        others = heads._replace(q=heads.q[..., cut:, :], query_padding=rest)
        if not self.readable:
            others, v = others._replace(k=heads.k[..., cut:, :], key_padding=rest), v[..., cut:, :]
        second = self.inner._attend(others, v, dropout)
        return torch.cat([first, second.to(first.dtype)], -2)

    def _couple(self, heads: Heads) -> Coupling:
        q, k, query_padding, key_padding = heads[:4]
        n = q.shape[-2]
        leads = (torch.arange(n, device=q.device) < self.special).expand(*q.shape[:-3], 1, n)
        absent = torch.zeros_like(leads) if query_padding is None else query_padding
        count = (~absent).sum(-1, keepdim=True).to(q.dtype)
        mine, theirs = absent | ~leads, absent | leads
        first = self.outer._couple(heads._replace(q=blank(q, mine), query_padding=mine))
        keys = key_padding if self.readable else theirs
        second = self.inner._couple(Heads(blank(q, theirs), blank(k, keys), theirs, keys))
        ones = torch.ones_like(count).expand(*leads.shape)
        weight = (~mine).sum(-1, keepdim=True) / count.clamp_min(1)
        parts = (first._scale(weight * ones, ones), second._scale((1 - weight) * ones, ones))
        return SumCoupling._make(terms=parts)

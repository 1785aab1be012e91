"""A few special tokens by softmax, the others by another coupler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from ...coupling import Coupling, SumCoupling
from ...errors import InputError
from ..functional._padding import at_least_single, blank
from ._base import Coupler, Promise, touched
from .softmax import Softmax

__all__ = ["Hybrid"]


class Hybrid(Coupler):
    """The first ``special`` tokens, such as a class token, read all by softmax; the rest couple among themselves.

    A doubly stochastic layer gives a class token one share of attention in all, so that the others can hardly read it,
    and it can hardly read more than its share of them; this keeps it outside of the balance.

    Args:
        inner: The coupler of the other tokens.
        special: How many tokens come first.
        readable: Whether the other tokens may read the special ones too, as keys of ``inner``.
        scale: s of the softmax, d^{-1/2} if None.

    Example:
        >>> from monge.nn.couplers import Hybrid, Pivots
        >>> attention = monge.nn.Attention(16, 2, coupler=Hybrid(Pivots(2, 8), special=1))
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True
    """

    name = "hybrid"
    promise = Promise(
        rows=1e-5,
        columns=None,
        exactness="rows exact; among the other tokens as the inner coupler",
        time="special n d + the inner coupler",
        memory="as the inner coupler",
        causal="no",
        pairs=False,
        square=True,
        gradient="as the inner coupler",
        source="arXiv 2509.23436",
    )
    why_not_causal = "its special tokens read the whole sequence"

    def __init__(self, inner: Coupler, special: int = 1, *, readable: bool = False, scale: float | None = None) -> None:
        super().__init__()
        if special < 1:
            raise InputError(f"special must be at least 1, but is {special}: without special tokens use the coupler.")
        if readable and inner.promise.square:
            raise InputError(
                f"{type(inner).__name__} couples equally many queries and keys, so its queries cannot read special "
                "tokens as well: use readable=False."
            )
        self.inner, self.outer = inner, Softmax(scale)
        self.jumps = inner.jumps
        self.special, self.readable = special, readable

    @classmethod
    def build(cls, heads: int, width: int, *, inner: str = "pivots", special: int = 1, **options: Any) -> Self:
        """Pivots inside unless named otherwise; ``options`` go to the inner coupler."""
        from . import build

        return cls(build(inner, heads, width, **options), special)

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
        cut = self.special
        lead, rest = (None, None) if query_padding is None else (query_padding[..., :cut], query_padding[..., cut:])
        first = self.outer._attend(q[..., :cut, :], k, v, lead, key_padding, None, False, dropout)
        if q.shape[-2] <= cut:
            return touched(first, *self.inner.parameters())
        inside = (k, v, key_padding)
        if not self.readable:
            inside = (k[..., cut:, :], v[..., cut:, :], rest)
        keys, values, pad = inside
        second = self.inner._attend(q[..., cut:, :], keys, values, rest, pad, None, False, dropout)
        return torch.cat([first, second.to(first.dtype)], -2)

    def _couple(
        self,
        q: Tensor,
        k: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
    ) -> Coupling:
        n = q.shape[-2]
        leads = (torch.arange(n, device=q.device) < self.special).expand(*q.shape[:-3], 1, n)
        absent = torch.zeros_like(leads) if query_padding is None else query_padding
        count = (~absent).sum(-1, keepdim=True).to(at_least_single(q)[0].dtype)
        mine, theirs = absent | ~leads, absent | leads
        keys = key_padding if self.readable else theirs
        first = self.outer._couple(blank(q, mine), k, mine, key_padding, None, False)
        second = self.inner._couple(blank(q, theirs), blank(k, keys), theirs, keys, None, False)
        ones = torch.ones_like(count).expand(*leads.shape)
        share = (~mine).sum(-1, keepdim=True) / count.clamp_min(1)
        parts = (first._scale(share * ones, ones), second._scale((1 - share) * ones, ones))
        return SumCoupling._make(terms=parts)

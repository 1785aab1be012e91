"""What reaches a coupler: one sequence of queries, keys and values per head, and what is absent or forbidden."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..coupling import Coupling
from .couplers import Coupler

__all__ = ["Heads"]


class Heads(NamedTuple):
    """Projected tokens, (*batch, heads, tokens, width), with their masks as couplers take them."""

    q: Tensor
    k: Tensor
    v: Tensor
    query_padding: Tensor | None = None
    key_padding: Tensor | None = None
    pairs: Tensor | None = None
    causal: bool = False

    def couple(self, coupler: Coupler) -> Coupling:
        """The coupling of queries and keys."""
        return coupler(self.q, self.k, self.query_padding, self.key_padding, pairs=self.pairs, causal=self.causal)

    def attend(self, coupler: Coupler, dropout: float = 0.0) -> Tensor:
        """The barycentric projection of the values."""
        return coupler.attend(
            self.q, self.k, self.v, self.query_padding, self.key_padding,
            pairs=self.pairs, causal=self.causal, dropout=dropout,
        )  # fmt: skip

    def explain(self, coupler: Coupler) -> tuple[Tensor, Tensor]:
        """The same projection, and the dense attention matrix that it applies."""
        coupling = self.couple(coupler)
        out = coupling.barycentric(self.v.to(coupling.dtype)).to(self.v.dtype)
        weights = coupling.dense()
        total = weights.sum(-1, keepdim=True)
        return out, weights / total.masked_fill(total == 0, 1.0)

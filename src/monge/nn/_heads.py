"""What reaches a coupler: one sequence of queries, keys and values per head, and what is absent or forbidden."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ..coupling import Coupling
from .couplers import Coupler
from .functional._padding import at_least_single, full_precision

__all__ = ["Heads", "precise_linear"]


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

    def weights(self, coupler: Coupler) -> Tensor:
        """The dense attention matrix that it applies when nothing is dropped."""
        if self.q.shape[:-1].numel() == 0:
            return self.q.new_zeros(*self.q.shape[:-1], self.k.shape[-2])
        weights = self.couple(coupler).dense()
        total = weights.sum(-1, keepdim=True)
        return weights / total.masked_fill(total == 0, 1.0)


def precise_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A projection in single precision at least, whatever autocast says: what is sorted must not be rounded first."""
    x, weight = at_least_single(x, weight)
    with full_precision(x):
        return F.linear(x, weight, None if bias is None else bias.to(weight.dtype))

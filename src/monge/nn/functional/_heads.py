"""What reaches an attention: queries and keys, and which of them, or of their pairs, are absent."""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from monge.errors import ShapeError

from ._masks import as_pair_mask, check_padding
from ._padding import at_least_single, blank


class Heads(NamedTuple):
    """Queries and keys, (*batch, heads, tokens, width), with their masks; once checked, they are zero where absent.

    Args:
        q: Queries.
        k: Keys.
        query_padding: True where a query is absent; broadcasts to the tokens. One tensor on both sides says that a
            sequence meets itself.
        key_padding: True where a key is absent.
        pair_mask: True where a pair is forbidden, or floats added to the scores; as many dimensions as the scores.
        causal: Whether every key after the query is forbidden.

    Example:
        >>> from monge.nn.couplers import Heads, Softmax
        >>> q, k, v = torch.randn(3, 2, 4, 10, 8).unbind()
        >>> heads = Heads(q, k, causal=True).per_head()
        >>> out = Softmax().read(heads, v)
        >>> torch.allclose(out[:, :, 0], v[:, :, 0])
        True
    """

    q: Tensor
    k: Tensor
    query_padding: Tensor | None = None
    key_padding: Tensor | None = None
    pair_mask: Tensor | None = None
    causal: bool = False

    def checked(self) -> Heads:
        """These heads, of any batch, with padding that broadcasts to their tokens.

        Raises:
            DtypeError: A mask is of integers.
            ShapeError: The mask of pairs does not fit.
        """
        q, k, query_padding, key_padding, pair_mask, causal = self
        check_padding(query_padding, key_padding)
        pair_mask = as_pair_mask(pair_mask, q.shape[:-2], q.shape[-2], k.shape[-2])
        return Heads(blank(q, query_padding), blank(k, key_padding), query_padding, key_padding, pair_mask, causal)

    def per_head(self) -> Heads:
        """These heads, of shape (*batch, heads, tokens, width), with padding (*batch, tokens) that all heads share.

        Raises:
            DtypeError: A mask is of integers.
            ShapeError: Queries, keys and masks do not fit each other, or there are queries and not a single key.
        """
        q, k, query, key, pairs, causal = self
        if q.ndim < 3 or q.ndim != k.ndim or q.shape[-1] != k.shape[-1] or q.shape[:-2] != k.shape[:-2]:
            raise ShapeError(
                "q and k must have shapes (*batch, heads, n, d) and (*batch, heads, m, d), but have "
                f"{tuple(q.shape)} and {tuple(k.shape)}."
            )
        if k.shape[-2] == 0 < q.shape[-2]:
            raise ShapeError(
                f"There are {q.shape[-2]} queries, but no keys that they could read: pass a key, or no queries."
            )
        for name, padding, tokens in (("query_padding", query, q), ("key_padding", key, k)):
            if padding is not None and padding.shape != (wanted := (*tokens.shape[:-3], tokens.shape[-2])):
                raise ShapeError(f"{name} must have shape {wanted}, (*batch, tokens), but has {tuple(padding.shape)}.")
        own, key = query is key, None if key is None else key[..., None, :]
        # One tensor stays one tensor.
        query = key if own else None if query is None else query[..., None, :]
        return Heads(q, k, query, key, pairs, causal).checked()

    def single(self, *others: Tensor) -> tuple[Heads, tuple[Tensor, ...]]:
        """These heads and other tensors, all in at least single precision."""
        q, k, *rest = at_least_single(self.q, self.k, *others)
        return self._replace(q=q, k=k), tuple(rest)

    def mask(self, *, order: bool = False) -> tuple[Tensor | None, Tensor | None]:
        """One additive or boolean mask (True = allowed) for all that is forbidden, and the rows that it leaves empty.

        Rows left empty are allowed everything, since a normalisation of nothing is NaN; the caller sets them to zero.
        Order alone needs no mask and gives None, unless ``order`` asks for it.
        """
        pairs = self.pair_mask
        forbidden = [] if self.key_padding is None else [self.key_padding[..., None, :]]
        if pairs is not None and pairs.dtype == torch.bool:
            forbidden.append(pairs)
        if self.causal and (order or forbidden or pairs is not None):
            size = (self.q.shape[-2], self.k.shape[-2])
            forbidden.append(torch.ones(*size, dtype=torch.bool, device=self.q.device).triu(1))
        absent = reduce(torch.logical_or, forbidden) if forbidden else None
        if pairs is None or pairs.dtype == torch.bool:
            if absent is None:
                return None, None
            dead = absent.all(-1, keepdim=True)
            return ~absent | dead, dead
        bias = pairs.to(self.q.dtype)
        bias = bias if absent is None else bias.masked_fill(absent, -math.inf)
        dead = (bias == -math.inf).all(-1, keepdim=True)
        return bias.masked_fill(dead, 0.0), dead

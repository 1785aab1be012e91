"""What a coupler is: queries and keys in, a coupling out, and its promises as data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import Self

from ..._transforms import transformable
from ...errors import CapabilityError, ShapeError
from ..functional._masks import as_pairs, check_padding
from ..functional._padding import blank

if TYPE_CHECKING:
    from ...coupling import Coupling

__all__ = ["Coupler", "Promise"]


@dataclass(frozen=True)
class Promise:
    """What a coupler guarantees, the row of it in the table of couplers, and the bounds its tests hold it to.

    Args:
        rows: Largest error of a row sum of the attention matrix in float32; None if nothing is promised.
        columns: Largest error of a column sum relative to n_q/n_k; None if nothing is promised.
        exactness: The same in words.
        time: Cost in the number of tokens n and of the head width d.
        memory: What a forward and backward pass stores beyond its inputs.
        causal: Whether position i reads nothing after i: "no", "optional", "always".
        pairs: Whether an arbitrary mask of pairs is possible.
        square: Whether queries and keys must be equally many.
        gradient: How gradients reach queries and keys.
        source: The publication.
    """

    rows: float | None
    columns: float | None
    exactness: str
    time: str
    memory: str
    causal: str
    pairs: bool
    square: bool
    gradient: str
    source: str


class Coupler(nn.Module, ABC):
    """Turns queries and keys into a `Coupling` whose barycentric projection of the values is the attention.

    A coupler writes ``_couple`` and may write ``_attend``, the same answer without the coupling. Queries, keys and
    values are (*batch, heads, tokens, width); padding is (*batch, tokens), True where a token is absent. The coupling
    has mass one, source weights 1/n_q on the queries that are present and zero on the others.
    """

    name: ClassVar[str]
    promise: Promise
    # Whether the plan jumps as queries and keys move: then they are projected in single precision, under autocast too.
    jumps: bool = False
    why_not_causal: ClassVar[str] = (
        "a lower-triangular matrix whose rows and columns all sum to one is the identity, and a balance of the keys "
        "over later queries tells of the future"
    )

    @classmethod
    def build(cls, heads: int, width: int, **options: Any) -> Self:
        """The coupler for an attention module of so many heads of such a width."""
        del heads, width
        return cls(**options)

    @transformable(constant=True)
    def forward(
        self,
        q: Float[Tensor, "*b h n d"],
        k: Float[Tensor, "*b h m d"],
        query_padding: Bool[Tensor, "*b n"] | None = None,
        key_padding: Bool[Tensor, "*b m"] | None = None,
        *,
        pairs: Tensor | None = None,
        causal: bool = False,
    ) -> Coupling:
        """The coupling of queries and keys.

        Args:
            q: Queries.
            k: Keys.
            query_padding: True where a query is absent.
            key_padding: True where a key is absent.
            pairs: True where a pair is forbidden, or a float added to its score; (n, m), (b·h, n, m), or as many
                dimensions as (*b, h, n, m), to which it broadcasts.
            causal: Forbid every key after the query.

        Returns:
            A coupling with batch shape (*b, h) and shape (n, m).

        Raises:
            CapabilityError: The coupler cannot keep its promise under ``pairs`` or ``causal``.
            ShapeError: Queries and keys do not fit each other, or there are none.
            DtypeError: A mask is of integers.
        """
        pairs = self._check(q, k, query_padding, key_padding, pairs, causal)
        if q.shape[-2] == 0:
            raise ShapeError("There are no queries and no keys to couple: a plan needs one of each.")
        masks = _by_head(query_padding, key_padding)
        return self._couple(blank(q, masks[0]), blank(k, masks[1]), *masks, pairs, causal)

    @transformable
    def attend(
        self,
        q: Float[Tensor, "*b h n d"],
        k: Float[Tensor, "*b h m d"],
        v: Float[Tensor, "*b h m c"],
        query_padding: Bool[Tensor, "*b n"] | None = None,
        key_padding: Bool[Tensor, "*b m"] | None = None,
        *,
        pairs: Tensor | None = None,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> Float[Tensor, "*b h n c"]:
        """The barycentric projection of the values under the coupling, by the fastest way to it.

        Args:
            q: Queries.
            k: Keys.
            v: Values.
            query_padding: True where a query is absent; its output is zero.
            key_padding: True where a key is absent.
            pairs: True where a pair is forbidden, or a float added to its score.
            causal: Forbid every key after the query.
            dropout: Probability with which a key is dropped for all queries (a single weight, for softmax).

        Returns:
            The attention output, in the dtype of the values; of no rows if there are no queries.

        Raises:
            CapabilityError: The coupler cannot keep its promise under ``pairs`` or ``causal``.
            ShapeError: Shapes do not fit, or there are queries and not a single key.
            DtypeError: A mask is of integers.
        """
        pairs = self._check(q, k, query_padding, key_padding, pairs, causal)
        if v.shape[:-1] != k.shape[:-1]:
            raise ShapeError(f"v must hold one value per key, but k has shape {tuple(k.shape)} and v {tuple(v.shape)}.")
        if q.shape[:-1].numel() == 0:
            return touched(v.new_zeros(*q.shape[:-1], v.shape[-1]), q, k, v, *self.parameters())
        masks = _by_head(query_padding, key_padding)
        q, k, v = blank(q, masks[0]), blank(k, masks[1]), blank(v, masks[1])
        return self._attend(q, k, v, *masks, pairs, causal, dropout)

    @abstractmethod
    def _couple(
        self,
        q: Tensor,
        k: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
    ) -> Coupling:
        """The coupling; arguments are checked, padding is (*b, 1, n), padded rows are zero."""

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
        """The output, from the coupling unless a coupler knows a shorter way."""
        coupling = self._couple(q, k, query_padding, key_padding, pairs, causal)
        return coupling.barycentric(drop_keys(v, dropout).to(coupling.dtype)).to(v.dtype)

    def _check(
        self,
        q: Tensor,
        k: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
    ) -> Tensor | None:
        """The mask of pairs in a shape that broadcasts to the scores."""
        n, m = q.shape[-2], k.shape[-2]
        if q.ndim < 3 or q.ndim != k.ndim or q.shape[-1] != k.shape[-1] or q.shape[:-2] != k.shape[:-2]:
            raise ShapeError(
                "q and k must have shapes (*batch, heads, n, d) and (*batch, heads, m, d), but have "
                f"{tuple(q.shape)} and {tuple(k.shape)}."
            )
        if self.promise.square and n != m:
            raise ShapeError(
                f"{type(self).__name__} couples equally many queries and keys, but there are {n} and {m}: use "
                "'pivots' or 'sinkhorn' for cross-attention."
            )
        if m == 0 < n:
            raise ShapeError(f"There are {n} queries, but no keys that they could read: give a key, or no queries.")
        for name, padding, tokens in (("query_padding", query_padding, q), ("key_padding", key_padding, k)):
            wanted = (*tokens.shape[:-3], tokens.shape[-2])
            if padding is not None and check_padding(padding).shape != wanted:
                raise ShapeError(f"{name} must have shape {wanted}, (*batch, tokens), but has {tuple(padding.shape)}.")
        if pairs is not None and not self.promise.pairs:
            raise CapabilityError(
                f"{type(self).__name__} never forms the pairs of queries and keys, so it cannot forbid some of them "
                "with attn_mask: pass key_padding_mask for padding, or use 'softmax' or 'sinkhorn'."
            )
        if causal and self.promise.causal == "no":
            raise CapabilityError(
                f"{type(self).__name__} cannot be causal: {self.why_not_causal}. Use 'causal-pivots', which is "
                "balanced over the past, 'linear' or 'softmax'."
            )
        return as_pairs(pairs, q.shape[:-2], n, m)


def drop_keys(v: Float[Tensor, "*b m c"], dropout: float) -> Float[Tensor, "*b m c"]:
    """Drop whole values: a column of the attention matrix at a time, the mask that needs no matrix."""
    if dropout == 0.0:
        return v
    return v * F.dropout(v.new_ones(*v.shape[:-1], 1), dropout)


def touched(out: Tensor, *tensors: Tensor) -> Tensor:
    """``out``, with a derivative of zero by tensors that it does not depend on, where there would be none at all.

    Whoever waits for the gradient of every parameter, as distributed training does, gets it.
    """
    return out + sum((tensor.flatten()[:0].sum().to(out.dtype) for tensor in tensors), start=out.new_zeros(()))


def _by_head(query_padding: Tensor | None, key_padding: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Padding with an axis for heads; one tensor stays one tensor, which says that both sides are equal."""
    key = None if key_padding is None else key_padding[..., None, :]
    if query_padding is key_padding:
        return key, key
    return None if query_padding is None else query_padding[..., None, :], key

"""The base class of couplers, which turn queries and keys into a coupling, and their promises as data."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import Self

from monge._transforms import transformable
from monge.coupling import Coupling
from monge.errors import CapabilityError, ShapeError

from ..functional._heads import Heads
from ..functional._padding import blank, full_precision, shares


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a coupler guarantees: its row in the table of couplers, and the bounds that the tests check.

    Args:
        rows: Largest error of a row sum of the attention matrix in float32; None if nothing is promised.
        columns: Largest error of a column sum relative to n_q/n_k; None if nothing is promised.
        exactness: The same two errors in words.
        time: Cost in the number of tokens n and of the head width d.
        memory: What a forward and backward pass stores beyond its inputs.
        source: The publication.
        causal: Whether position i reads nothing after i: "no", "optional", "always".
        pairs: Whether an arbitrary mask of pairs is possible.
        square: Whether the numbers of queries and keys must be equal.
        gradient: How gradients reach queries and keys.

    Example:
        >>> from monge.nn.couplers import Pivots
        >>> Pivots.promise.columns, Pivots.promise.causal
        (1e-05, 'no')
    """

    rows: float | None
    columns: float | None
    exactness: str
    time: str
    memory: str
    source: str
    causal: str = "no"
    pairs: bool = False
    square: bool = False
    gradient: str = "exact"

    @classmethod
    def of_rows(cls, columns: str = "free", **rest: Any) -> Promise:
        """Exact rows; the words say what is known about the columns."""
        return cls(rows=1e-5, columns=None, exactness=f"rows exact, columns {columns}", **rest)

    @classmethod
    def of_both(cls, **rest: Any) -> Promise:
        """Rows and columns exact."""
        return cls(rows=1e-5, columns=1e-5, exactness="rows and columns exact", **rest)


class Coupler(nn.Module, ABC):
    """Turns queries and keys into a `Coupling` whose barycentric projection of the values is the attention.

    A coupler writes ``_couple`` and may write ``_read``, the same answer without the coupling, or ``_attend``, where
    dropout shall drop something else than keys; all are given `Heads`, which are checked. ``_couple`` sees them in
    single precision at least, and autocast changes dtypes neither there nor in ``_read``. Queries, keys and values are
    (*batch, heads, tokens, width); padding is (*batch, tokens), True where a token is absent. The coupling has mass
    one, source weights 1/n_q on the queries that are present and zero on the others.

    Example:
        >>> from monge.coupling import ProductCoupling
        >>> from monge.nn.couplers import Coupler, Softmax
        >>> class Mean(Coupler):
        ...     promise = Softmax.promise
        ...     def _couple(self, heads):
        ...         n, m = heads.q.shape[-2], heads.k.shape[-2]
        ...         a, b = heads.q.new_full((2, n), 1 / n), heads.q.new_full((2, m), 1 / m)
        ...         return ProductCoupling(a, b)
        >>> x = torch.randn(5, 16)
        >>> monge.nn.Attention(16, 2, coupler=Mean())(x)[0].shape
        torch.Size([5, 16])
    """

    name: ClassVar[str]
    promise: Promise
    # Whether the plan jumps as queries and keys move: then they are projected in single precision, under autocast too.
    jumps: bool = False
    # Whether queries and keys are the tokens of one sequence, which has one padding.
    one_sequence: bool = False
    why_not_causal: ClassVar[str] = (
        "a lower-triangular matrix whose rows and columns all sum to one is the identity, and a balance of the keys "
        "over later queries tells of the future"
    )

    @classmethod
    def build(cls, heads: int, width: int, **options: Any) -> Self:
        """The coupler for an attention module of so many heads of such a width, told to classes that ask for them."""
        asked = inspect.signature(cls).parameters
        sizes = {name: size for name, size in (("heads", heads), ("width", width)) if name in asked}
        return cls(**sizes, **options)

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
        return self.plan(Heads(q, k, query_padding, key_padding, pairs, causal).per_head())

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
        return self.read(Heads(q, k, query_padding, key_padding, pairs, causal).per_head(), v, dropout)

    @transformable(constant=True)
    def plan(self, heads: Heads) -> Coupling:
        """The coupling of heads; the call of a coupler makes them of its arguments.

        Args:
            heads: Queries and keys with their masks, checked.

        Raises:
            CapabilityError: The coupler cannot keep its promise under the mask of pairs or the order.
            ShapeError: There are no queries, or not as many as keys where the coupler needs it.
        """
        self._admit(heads)
        if heads.q.shape[-2] == 0:
            raise ShapeError("A plan needs at least one query and one key, but there are none: pass a token.")
        heads, _ = heads.single()
        with full_precision(heads.q):
            return self._couple(heads)

    @transformable
    def read(self, heads: Heads, v: Tensor, dropout: float = 0.0) -> Tensor:
        """The output of attention for checked heads; ``attend`` makes the heads from its arguments.

        Args:
            heads: Queries and keys with their masks, checked.
            v: Values, one per key.
            dropout: Probability with which a key, or a weight for softmax, is dropped.

        Raises:
            CapabilityError: The coupler cannot keep its promise under the mask of pairs or the order.
            ShapeError: Values are not one per key, or queries not as many as keys where the coupler needs it.
        """
        self._admit(heads)
        if v.shape[:-1] != heads.k.shape[:-1]:
            raise ShapeError(
                f"v must hold one value per key, but k has shape {tuple(heads.k.shape)} and v {tuple(v.shape)}."
            )
        if heads.q.shape[:-1].numel() == 0:
            return touched(v.new_zeros(*heads.q.shape[:-1], v.shape[-1]), *heads[:2], v, *self.parameters())
        return self._attend(heads, blank(v, heads.key_padding), dropout)

    def weights(self, heads: Heads) -> Tensor:
        """The dense attention matrix (*batch, heads, n, m) that ``read`` applies when nothing is dropped."""
        if heads.q.shape[:-1].numel() == 0:
            return heads.q.new_zeros(*heads.q.shape[:-1], heads.k.shape[-2])
        return shares(self.plan(heads).dense())

    @abstractmethod
    def _couple(self, heads: Heads) -> Coupling:
        """The coupling of heads that the coupler admits."""

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        """The output, from the coupling unless a coupler knows a shorter way; absent values are zero."""
        coupling = self._couple(heads.single()[0])
        return coupling.barycentric(v.to(coupling.dtype)).to(v.dtype)

    def _attend(self, heads: Heads, v: Tensor, dropout: float) -> Tensor:
        """The output when whole keys are dropped, by the mask that needs no matrix; or whatever else is dropped."""
        kept = v if dropout == 0.0 else v * F.dropout(v.new_ones(*v.shape[:-1], 1), dropout)
        with full_precision(v):
            return self._read(heads, kept)

    def _admit(self, heads: Heads) -> None:
        """Refuse what the promise does not cover."""
        n, m = heads.q.shape[-2], heads.k.shape[-2]
        if self.promise.square and n != m:
            raise ShapeError(
                f"{type(self).__name__} couples equally many queries and keys, but there are {n} and {m}: use "
                "'pivots' or 'sinkhorn' for cross-attention."
            )
        if self.one_sequence and heads.query_padding is not heads.key_padding:
            raise CapabilityError(
                f"{type(self).__name__} couples a sequence with itself: pass key_padding_mask only, which is then "
                "used for the queries too."
            )
        if heads.pair_mask is not None and not self.promise.pairs:
            raise CapabilityError(
                f"{type(self).__name__} never forms the pairs of queries and keys, so it cannot forbid some of them "
                "with attn_mask: pass key_padding_mask for padding, or use 'softmax' or 'sinkhorn'."
            )
        if heads.causal and self.promise.causal == "no":
            raise CapabilityError(
                f"{type(self).__name__} cannot be causal: {self.why_not_causal}. Use 'causal-pivots', which is "
                "balanced over the past, 'linear' or 'softmax'."
            )


def touched(out: Tensor, *tensors: Tensor) -> Tensor:
    """``out``, with a derivative of zero by tensors that it does not depend on, where there would be none at all.

    Whoever waits for the gradient of every parameter, as distributed training does, gets it.
    """
    return out + sum((tensor.flatten()[:0].sum().to(out.dtype) for tensor in tensors), start=out.new_zeros(()))

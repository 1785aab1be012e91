"""What a representation of a plan writes: the private methods behind the questions of a coupling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import Self

from monge._blocks import entries
from monge._sided import Sided
from monge._value import tensors_in, value
from monge.geometry import Geometry

from . import _stream
from ._numbers import fraction

if TYPE_CHECKING:
    from .base import Coupling
    from .sparse import SparseCoupling

Rows = slice | Tensor
Entries = tuple[Tensor, Tensor, Tensor]


def plans() -> Any:
    """What plans are made of, imported when it is first needed, since representations are couplings themselves."""
    from . import _parts

    return _parts


@value
class Representation(Sided, ABC):
    """A plan as something that can be read: the methods behind the questions of a `Coupling`.

    A representation writes the first four and may override the others; where two fields are its two sides, it names
    them in `_sides` instead of writing the first two. They are called with checked arguments, may broadcast over batch
    dimensions, and must be differentiable with respect to the tensors that the plan holds.

    Args:
        geometry: The cost that the plan was made for, if there is one. It is no part of the plan: it answers
            ``transport_cost()``, and stays when a plan is transposed, indexed, shortened or rounded.
    """

    geometry: Geometry | None = field(default=None, kw_only=True)
    # Whether `repr` tells the mass, because row sums cost next to nothing.
    _tells_mass: ClassVar[bool] = False

    # ------------------------------------------------------------------ what a representation writes

    def _shape(self) -> tuple[int, ...]:
        """(*b, n, m)."""
        return (*self._leading(), *self._counts())

    @abstractmethod
    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        """P v; batch dimensions of v and P broadcast."""

    @abstractmethod
    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        """Some rows (a slice, or a 1-D tensor of indices), dense, with all batch dimensions."""

    # ------------------------------------------------------------------ what it may write, for speed

    def _scalars_per_entry(self) -> int:
        """How many numbers `_block` holds per entry while it computes: this sets the size of blocks."""
        return 1

    def _entries(self) -> Entries | None:
        """All entries as (i, j, w), each (*b, k), where they are few; w = 0 is padding, equal places add up."""
        return None

    def _as_sparse(self) -> SparseCoupling | None:
        """The plan as a list, if its entries are few."""
        entries = self._entries()
        if entries is None:
            return None
        (i, j, w), (*_, n, m) = entries, self._shape()
        return plans().SparseCoupling._make(i=i, j=j, w=w, n=n, m=m)

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        """P 1."""
        return self._matmul(torch.ones(self._shape()[-1], 1, dtype=self.dtype, device=self.device))[..., 0]

    def _marginals(self) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
        """P 1 and P^T 1."""
        return self._row_sums(), self._transpose()._row_sums()

    def _average(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        """P v divided by P 1, zero where a row has no mass."""
        both = self._matmul(torch.cat([v, torch.ones_like(v[..., :1])], -1))
        return fraction(both[..., :-1], both[..., -1:])

    def _inner(self, geometry: Geometry) -> Float[Tensor, "*b"]:
        """<P, C>."""
        sparse = self._as_sparse()
        if sparse is not None:
            return sparse._inner(geometry)
        factored = geometry._factored_inner(self._matmul)
        return _stream.inner(self, geometry) if factored is None else factored

    def _entropy(self) -> Float[Tensor, "*b"]:
        """-sum P log P."""
        sparse = self._as_sparse()
        return _stream.entropy(self) if sparse is None else sparse._entropy()

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        """P[i, j], entry by entry; indices may carry batch dimensions."""
        return entries(self, self._shape()[:-2], i, j, width=3)

    def _sample_rows(self, i: Int[Tensor, "*b k"], u: Float[Tensor, "*b k"]) -> Int[Tensor, "*b k"]:
        """A column for each row i, drawn from that row, by inversion at u in [0, 1)."""
        sparse = self._as_sparse()
        return _stream.sample_rows(self, i, u) if sparse is None else sparse._sample_rows(i, u)

    def _assignment(self) -> Int[Tensor, "*b n"] | None:
        """The bijection of largest total weight, if the plan knows it."""
        return None

    def _top_k(self, k: int) -> tuple[Float[Tensor, "*b n k"], Int[Tensor, "*b n k"]]:
        """The k largest entries of each row, in decreasing order, and their columns."""
        return _stream.top_k(self, k)

    def _extract(self, threshold: float) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
        """Where the entries above a threshold are, for a coupling without batch dimensions."""
        return _stream.extract(self, threshold)

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> Coupling:
        """diag(row) P diag(col)."""
        return plans().diagonal(row, self, col)

    def _selected(self, index: tuple[Any, ...], batch: torch.Size) -> Coupling:
        return plans().Selected._make(held=self, index=index, batch=batch)

    def _told(self) -> tuple[str, ...]:
        """What else `repr` should say."""
        return ()

    # ------------------------------------------------------------------ what is the same for all

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its numbers."""
        own = tuple(held for name, held in self._contents().items() if name != "geometry")
        return next(t.dtype for t in tensors_in(own) if t.is_floating_point())

    def _priced(self, geometry: Geometry | None) -> Self:
        """The same plan, made for a cost; one that knows its cost already keeps it."""
        if geometry is None or self.geometry is not None:
            return self
        return self._replace(geometry=geometry)

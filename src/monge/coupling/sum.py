"""Sums of plans."""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import broadcast_shapes
from monge._checks import check_batches, check_same
from monge._value import value
from monge.errors import InputError, ShapeError
from monge.geometry import Geometry

from .base import Coupling, Entries, Rows

__all__ = ["SumCoupling"]


@value
class SumCoupling(Coupling):
    """The sum of plans between the same points.

    Args:
        terms: The plans.

    Raises:
        InputError: If there is no plan.
        ShapeError, DtypeError, DeviceError: If the plans do not fit together.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling, SumCoupling
        >>> quarter = torch.tensor([0.25, 0.25])
        >>> there = PermutationCoupling(torch.tensor([0, 1]), quarter)
        >>> back = PermutationCoupling(torch.tensor([1, 0]), quarter)
        >>> SumCoupling((there, back)).dense()
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]])
    """

    terms: tuple[Coupling, ...]

    def __post_init__(self) -> None:
        terms = tuple(self.terms)
        if not terms or not all(isinstance(term, Coupling) for term in terms):
            told = [type(term).__name__ for term in terms]
            raise InputError(f"terms must be one or more couplings, but are {told}: pass SumCoupling((P, Q)).")
        if len({term._shape()[-2:] for term in terms}) > 1:
            shapes = [tuple(term.shape) for term in terms]
            raise ShapeError(
                f"All terms must be plans between the same points, but have shapes {shapes}: give all one shape."
            )
        named = {f"terms[{k}]": term for k, term in enumerate(terms)}
        check_same(**named)
        check_batches(**{name: term.batch_shape for name, term in named.items()})
        object.__setattr__(self, "terms", terms)
        if self.geometry is None and all(term.geometry is terms[0].geometry for term in terms):
            object.__setattr__(self, "geometry", terms[0].geometry)

    def _shape(self) -> tuple[int, ...]:
        batch = broadcast_shapes(*(term._shape()[:-2] for term in self.terms))
        return (*batch, *self.terms[0]._shape()[-2:])

    def _scalars_per_entry(self) -> int:
        return 1 + max(term._scalars_per_entry() for term in self.terms)

    def _transpose(self) -> SumCoupling:
        return self._make(terms=tuple(term._transpose() for term in self.terms))

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return _total(term._matmul(v) for term in self.terms)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return _total(term._block(rows) for term in self.terms)

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        return _total(term._row_sums() for term in self.terms)

    def _inner(self, geometry: Geometry) -> Float[Tensor, "*b"]:
        return _total(term._inner(geometry) for term in self.terms)

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return _total(term._at(i, j) for term in self.terms)

    def _entries(self) -> Entries | None:
        lists = [entries for entries in (term._entries() for term in self.terms) if entries is not None]
        if len(lists) < len(self.terms):
            return None
        batch = self._shape()[:-2]
        i, j, w = (
            torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1) for parts in zip(*lists, strict=True)
        )
        return i, j, w

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> SumCoupling:
        return self._make(terms=tuple(term._scale(row, col) for term in self.terms))


def _total(parts: Any) -> Tensor:
    return functools.reduce(torch.add, parts)

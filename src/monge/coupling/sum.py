"""A sum of plans of different kinds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monge._value import value
from monge.errors import InputError, ShapeError

from .base import Coupling, Rows

__all__ = ["SumCoupling"]


@value
class SumCoupling(Coupling):
    """The sum of plans of any kinds: what rounding returns, and what blends are made of.

    Args:
        terms: Couplings of one shape.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling, ProductCoupling, SumCoupling
        >>> half = torch.tensor([0.25, 0.25])
        >>> SumCoupling((PermutationCoupling(torch.tensor([0, 1]), half), ProductCoupling(half, half))).dense()
        tensor([[0.3750, 0.1250],
                [0.1250, 0.3750]])
    """

    terms: tuple[Coupling, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise InputError("A sum needs at least one coupling, but terms is empty.")
        if len({tuple(term.shape[-2:]) for term in self.terms}) > 1:
            raise ShapeError(f"All terms must have one shape, but have {[tuple(t.shape) for t in self.terms]}.")

    def _shape(self) -> tuple[int, ...]:
        shapes = [term._shape() for term in self.terms]
        return (*torch.broadcast_shapes(*(shape[:-2] for shape in shapes)), *shapes[0][-2:])

    def _transpose(self) -> Coupling:
        return SumCoupling._make(terms=tuple(term._transpose() for term in self.terms))

    def _matmul(self, v: Tensor) -> Tensor:
        return _total([term._matmul(v) for term in self.terms])

    def _block(self, rows: Rows) -> Tensor:
        return _total([term._block(rows) for term in self.terms])

    def _marginals(self) -> tuple[Tensor, Tensor]:
        rows, cols = zip(*(term._marginals() for term in self.terms), strict=True)
        return _total(rows), _total(cols)

    def _inner(self, geometry: Any) -> Tensor:
        return _total([term._inner(geometry) for term in self.terms])

    def _own_geometry(self) -> Any:
        return next((g for g in (term._own_geometry() for term in self.terms) if g is not None), None)

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        return SumCoupling._make(terms=tuple(term._scale(row, col) for term in self.terms))


def _total(parts: Any) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total

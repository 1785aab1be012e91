"""Weighted sums of costs between the same points."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import broadcast_shapes, pick
from monge._checks import check_finite, check_floating, check_number
from monge._value import value
from monge.errors import DtypeError, InputError, ShapeError
from monge.kernels import Points

from . import _stream
from .base import Geometry, Rows

if TYPE_CHECKING:
    from monge.kernels import Pairs

    from .space import Space

__all__ = ["Sum"]


@value
class Sum(Geometry):
    r"""The cost $\sum_k w_k C^{(k)}_{ij}$: features plus positions, a linearised cost plus a fixed one.

    Terms between point clouds melt into one cloud of concatenated points where that is exact (squared
    Euclidean costs, p-norms to the power p, dot products), so that the kernels see a single cost. What one
    term forbids is forbidden, whatever its weight. ``C + D`` and ``2.0 * C`` make sums.

    Args:
        terms: Geometries between as many points.
        weights: One finite number per term, or a tensor with one number per problem; by default ones.

    Raises:
        ShapeError: If the shapes of the terms differ or there is no term or weight.
        InputError: If a weight is not finite.

    Example:
        >>> import torch
        >>> from monge.geometry import CostMatrix, PointCloud, Sum
        >>> positions = PointCloud(torch.zeros(2, 1), torch.ones(3, 1))
        >>> labels = CostMatrix(torch.eye(2, 3))
        >>> Sum((positions, labels), (0.5, 2.0)).dense()
        tensor([[2.5000, 0.5000, 0.5000],
                [0.5000, 2.5000, 0.5000]])
    """

    terms: tuple[Geometry, ...]
    weights: tuple[float | Tensor, ...] = ()

    def __post_init__(self) -> None:
        terms, weights = tuple(self.terms), tuple(self.weights)
        if not terms or not all(isinstance(term, Geometry) for term in terms):
            told = [type(term).__name__ for term in terms]
            raise InputError(f"terms must be one or more geometries, but are {told}: pass Sum((first, second)).")
        weights = weights or (1.0,) * len(terms)
        _check_terms(terms, weights)
        flat = [pair for term, weight in zip(terms, weights, strict=True) for pair in _flat(term, weight)]
        object.__setattr__(self, "terms", tuple(term for term, _ in flat))
        object.__setattr__(self, "weights", tuple(weight for _, weight in flat))

    @property
    def shape(self) -> tuple[int, int]:
        """How many source points and target points there are."""
        return self.terms[0].shape

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        weights = (weight.shape for weight in self.weights if isinstance(weight, Tensor))
        return broadcast_shapes(*(term.batch_shape for term in self.terms), *weights)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the costs."""
        return self.terms[0].dtype

    def _transpose(self) -> Sum:
        return self._make(terms=tuple(term._transpose() for term in self.terms), weights=self.weights)

    def _select(self, index: Any, batch: torch.Size) -> Sum:
        terms = tuple(term._select(index, batch) for term in self.terms)
        weights = tuple(pick(w, 0, batch, index) if isinstance(w, Tensor) else w for w in self.weights)
        return self._make(terms=terms, weights=weights)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        parts = (_weigh(t._block(rows), w, 2) for t, w in zip(self.terms, self.weights, strict=True))
        return functools.reduce(torch.add, parts)

    def _forbids(self) -> bool:
        return any(term._forbids() for term in self.terms)

    def _scalars_per_entry(self) -> int:
        return 2 + max(term._scalars_per_entry() for term in self.terms)

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        parts = (_weigh(t._entries(i, j), w, 1) for t, w in zip(self.terms, self.weights, strict=True))
        return functools.reduce(torch.add, parts)

    def _space(self) -> Space | None:
        space = self.terms[0]._space() if len(self.terms) == 1 else None
        if space is None:
            return None
        costs, weights = space.costs, self.weights
        return replace(space, costs=lambda x, y: Sum((costs(x, y),), weights))

    def _factors(self) -> tuple[Tensor, Tensor] | None:
        factors = [term._factors() for term in self.terms]
        left, right = [], []
        for pair, weight in zip(factors, self.weights, strict=True):
            if pair is None:
                return None
            left.append(_stream.column(weight, 2) * pair[0])
            right.append(pair[1])
        return _join(left, self.batch_shape), _join(right, self.batch_shape)

    # One term is the same cost at another temperature: it keeps the fast paths of its own.

    def _only(self) -> tuple[Geometry, float | Tensor] | None:
        if len(self.terms) == 1 and _positive(self.weights[0]):
            return self.terms[0], self.weights[0]
        return None

    def _softmin(self, g: Tensor, log_b: Tensor, epsilon: float | Tensor) -> Tensor:
        only = self._only()
        if only is None:
            return super()._softmin(g, log_b, epsilon)
        term, weight = only
        wide = _stream.column(weight, 1)
        return wide * term._softmin(g / wide, log_b, epsilon / weight)

    def _apply(self, row: Tensor | None, col: Tensor, v: Tensor, epsilon: float | Tensor) -> Tensor:
        only = self._only()
        if only is None:
            return super()._apply(row, col, v, epsilon)
        return only[0]._apply(row, col, v, epsilon / only[1])

    def _ctransform(self, g: Tensor) -> tuple[Tensor, Tensor]:
        only = self._only()
        if only is None:
            return super()._ctransform(g)
        wide = _stream.column(only[1], 1)
        least, index = only[0]._ctransform(g / wide)
        return wide * least, index

    def _top_k(self, g: Tensor, k: int) -> tuple[Tensor, Tensor]:
        only = self._only()
        if only is None:
            return super()._top_k(g, k)
        least, index = only[0]._top_k(g / _stream.column(only[1], 1), k)
        return _stream.column(only[1], 2) * least, index

    @torch.no_grad()
    def _sinkhorn(
        self, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        only = self._only()
        if only is None:
            return super()._sinkhorn(g, log_a, log_b, epsilon)
        wide = _stream.column(only[1], 1)
        f, image, error = only[0]._sinkhorn(g / wide, log_a, log_b, epsilon / only[1])
        return wide * f, wide * image, error

    def _inner(self, row: Tensor, col: Tensor, epsilon: float | Tensor) -> Tensor:
        only = self._only()
        if only is None:
            return super()._inner(row, col, epsilon)
        return only[1] * only[0]._inner(row, col, epsilon / only[1])

    def _mean(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        only = self._only()
        if only is None:
            return super()._mean(a, b)
        total, mass = only[0]._mean(a, b)
        return only[1] * total, mass

    def _pairs(self) -> Pairs | None:
        terms = [term._pairs() for term in self.terms]
        first = terms[0]
        if not isinstance(first, Points) or not all(isinstance(term, Points) for term in terms):
            return None
        clouds = [term for term in terms if isinstance(term, Points)]
        if all(cloud.kind == "dot" for cloud in clouds):
            left = [_stream.column(w, 2) * cloud.x for w, cloud in zip(self.weights, clouds, strict=True)]
            right = [cloud.y for cloud in clouds]
            return Points(_join(left, self.batch_shape), _join(right, self.batch_shape), "dot")
        alike = {(cloud.kind, cloud.p, cloud.power) for cloud in clouds} == {("norm", first.p, first.p)}
        if not alike or not all(_positive(weight) for weight in self.weights):
            return None
        # sum_k w_k |x_k - y_k|_p^p is |x - y|_p^p between the concatenations of w_k^(1/p) x_k and y_k.
        scales = [_stream.column(weight ** (1 / first.p), 2) for weight in self.weights]
        left = [scale * cloud.x for scale, cloud in zip(scales, clouds, strict=True)]
        right = [scale * cloud.y for scale, cloud in zip(scales, clouds, strict=True)]
        return Points(_join(left, self.batch_shape), _join(right, self.batch_shape), "norm", first.p, first.power)


def _flat(term: Geometry, weight: float | Tensor) -> list[tuple[Geometry, float | Tensor]]:
    """A sum inside a sum is its terms."""
    if not isinstance(term, Sum):
        return [(term, weight)]
    return [(inner, weight * w) for inner, w in zip(term.terms, term.weights, strict=True)]


def _positive(weight: float | Tensor) -> bool:
    return bool((weight > 0).all()) if isinstance(weight, Tensor) else weight > 0


def _weigh(cost: Tensor, weight: float | Tensor, count: int) -> Tensor:
    """Weight * cost, where what is forbidden stays forbidden: 0 * inf is no number."""
    forbidden = cost == math.inf
    return (_stream.column(weight, count) * cost.masked_fill(forbidden, 0)).masked_fill(forbidden, math.inf)


def _join(parts: list[Tensor], batch: torch.Size) -> Tensor:
    return torch.cat([part.expand(*batch, *part.shape[-2:]) for part in parts], -1)


def _check_terms(terms: tuple[Geometry, ...], weights: tuple[float | Tensor, ...]) -> None:
    if len(weights) != len(terms):
        raise ShapeError(
            f"weights must be one per term, but there are {len(weights)} weights for {len(terms)} terms: "
            f"leave them out to weigh every term by one."
        )
    shapes = [term.shape for term in terms]
    if len(set(shapes)) > 1:
        raise ShapeError(
            f"All terms must cost the same pairs of points, but their shapes are {shapes}: build them from "
            f"the same numbers of points."
        )
    if len({(term.dtype, term.device) for term in terms}) > 1:
        told = ", ".join(f"{term.dtype} on {term.device}" for term in terms)
        raise DtypeError(f"All terms must share one dtype and device, but they are {told}: use geometry.to(...).")
    for k, weight in enumerate(weights):
        if isinstance(weight, Tensor):
            check_floating(f"weights[{k}]", weight)
            check_finite(f"weights[{k}]", weight.detach())
        else:
            check_number(f"weights[{k}]", weight)
    shapes = [tuple(term.batch_shape) for term in terms]
    shapes += [tuple(weight.shape) for weight in weights if isinstance(weight, Tensor)]
    try:
        broadcast_shapes(*shapes)
    except RuntimeError as error:
        raise ShapeError(
            f"The batch dimensions of terms and weights must broadcast, but are {shapes}: give each "
            f"one problem or as many as the others."
        ) from error

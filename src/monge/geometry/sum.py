"""Weighted sums of costs between the same points."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import broadcast_shapes, column
from monge._checks import check_batches, check_finite, check_floating, check_number, check_same
from monge._value import value
from monge.errors import InputError, ShapeError
from monge.kernels import Points

from ._clouds import joined
from .base import Geometry, Rows
from .space import Space

__all__ = ["Sum"]


Weight = float | Tensor


def _alone(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The answer for one term, the same cost at another temperature: it keeps the fast paths of its own.

    Sums of more terms, or with a weight that is not positive, answer as every geometry does.
    """

    @functools.wraps(answer)
    def chosen(self: Sum, *asked: Any) -> Any:
        if len(self.terms) == 1 and _positive(self.weights[0]):
            return answer(self, self.terms[0], self.weights[0], *asked)
        return getattr(super(Sum, self), answer.__name__)(*asked)

    return chosen


@value
class Sum(Geometry):
    r"""The cost $\sum_k w_k C^{(k)}_{ij}$, for example of features and of positions.

    Terms between point clouds are joined to one cloud with more coordinates if this is exact (squared Euclidean
    costs, p-norms to the power p, dot products), so that the kernels see a single cost. A pair that one term forbids
    is forbidden, whatever the weight of this term. ``C + D`` and ``2.0 * C`` make sums.

    Args:
        terms: Geometries between the same numbers of points.
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
    weights: tuple[float | Float[Tensor, "*b"], ...] = ()

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
        return self._replace(terms=tuple(term._transpose() for term in self.terms))

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return self._total((term._block(rows) for term in self.terms), 2)

    def _total(self, costs: Iterable[Tensor], core: int) -> Tensor:
        """The weighted sum of what the terms cost, where what is forbidden stays forbidden: 0 * inf is no number."""
        parts = []
        for cost, weight in zip(costs, self.weights, strict=True):
            forbidden = cost == math.inf
            part = column(weight, core) * cost.masked_fill(forbidden, 0)
            parts.append(part.masked_fill(forbidden, math.inf))
        return functools.reduce(torch.add, parts)

    def _forbids(self) -> bool:
        return any(term._forbids() for term in self.terms)

    def _scalars_per_entry(self) -> int:
        return 2 + max(term._scalars_per_entry() for term in self.terms)

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return self._total((term._entries(i, j) for term in self.terms), 1)

    def _space(self) -> Space | None:
        space = self.terms[0]._space() if len(self.terms) == 1 else None
        if space is None:
            return None
        costs, weights = space.costs, self.weights
        return dataclasses.replace(space, costs=lambda x, y: Sum((costs(x, y),), weights))

    def _factors(self) -> tuple[Tensor, Tensor] | None:
        factors = [pair for pair in (term._factors() for term in self.terms) if pair is not None]
        if len(factors) < len(self.terms):
            return None
        left = [column(weight, 2) * pair[0] for pair, weight in zip(factors, self.weights, strict=True)]
        return joined(left, self.batch_shape), joined([pair[1] for pair in factors], self.batch_shape)

    @_alone
    def _softmin(self, term: Geometry, weight: Weight, g: Tensor, log_b: Tensor, epsilon: float | Tensor) -> Tensor:
        wide = column(weight)
        return wide * term._softmin(g / wide, log_b, epsilon / weight)

    @_alone
    def _apply(
        self, term: Geometry, weight: Weight, row: Tensor | None, col: Tensor, v: Tensor, epsilon: float | Tensor
    ) -> Tensor:
        return term._apply(row, col, v, epsilon / weight)

    @_alone
    def _top_k(self, term: Geometry, weight: Weight, g: Tensor, k: int) -> tuple[Tensor, Tensor]:
        least, index = term._top_k(g / column(weight), k)
        return column(weight, 2) * least, index

    @torch.no_grad()
    @_alone
    def _sinkhorn(
        self, term: Geometry, weight: Weight, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = column(weight)
        f, image, error = term._sinkhorn(g / wide, log_a, log_b, epsilon / weight)
        return wide * f, wide * image, error

    @_alone
    def _inner(self, term: Geometry, weight: Weight, row: Tensor, col: Tensor, epsilon: float | Tensor) -> Tensor:
        return weight * term._inner(row, col, epsilon / weight)

    @_alone
    def _mean(self, term: Geometry, weight: Weight, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        total, mass = term._mean(a, b)
        return weight * total, mass

    def _pairs(self) -> Points | None:
        clouds = [points for points in (term._pairs() for term in self.terms) if isinstance(points, Points)]
        if len(clouds) < len(self.terms):
            return None
        first = clouds[0]
        if all(cloud.kind == "dot" for cloud in clouds):
            return self._melted(clouds, self.weights, (1.0,) * len(clouds))
        alike = {(cloud.kind, cloud.p, cloud.power) for cloud in clouds} == {("norm", first.p, first.p)}
        if not alike or not all(_positive(weight) for weight in self.weights):
            return None
        # sum_k w_k |x_k - y_k|_p^p is |x - y|_p^p between the concatenations of w_k^(1/p) x_k and y_k.
        scales = [weight ** (1 / first.p) for weight in self.weights]
        return self._melted(clouds, scales, scales)

    def _melted(self, clouds: list[Points], left: Sequence[Weight], right: Sequence[Weight]) -> Points:
        """One cloud of all coordinates, each scaled."""
        x = [column(scale, 2) * cloud.x for scale, cloud in zip(left, clouds, strict=True)]
        y = [column(scale, 2) * cloud.y for scale, cloud in zip(right, clouds, strict=True)]
        return dataclasses.replace(clouds[0], x=joined(x, self.batch_shape), y=joined(y, self.batch_shape))


def _flat(term: Geometry, weight: Weight) -> list[tuple[Geometry, Weight]]:
    """A sum inside a sum is its terms."""
    if not isinstance(term, Sum):
        return [(term, weight)]
    return [(inner, weight * w) for inner, w in zip(term.terms, term.weights, strict=True)]


def _positive(weight: Weight) -> bool:
    return bool((weight > 0).all()) if isinstance(weight, Tensor) else weight > 0


def _check_terms(terms: tuple[Geometry, ...], weights: tuple[Weight, ...]) -> None:
    if len(weights) != len(terms):
        raise ShapeError(
            f"weights must be one per term, but there are {len(weights)} weights for {len(terms)} terms: "
            f"leave them out to give every term the weight one."
        )
    shapes = [term.shape for term in terms]
    if len(set(shapes)) > 1:
        raise ShapeError(
            f"All terms must be costs of the same pairs of points, but their shapes are {shapes}: build them from "
            f"the same numbers of points."
        )
    named = {f"terms[{k}]": term for k, term in enumerate(terms)}
    check_same(**named)
    batches = {name: term.batch_shape for name, term in named.items()}
    for k, weight in enumerate(weights):
        name = f"weights[{k}]"
        if isinstance(weight, Tensor):
            check_floating(name, weight)
            check_finite(name, weight.detach())
            batches[name] = weight.shape
        else:
            check_number(name, weight)
    check_batches(**batches)

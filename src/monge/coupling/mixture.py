"""Means of plans over one more axis."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import broadcast_shapes, pick, recompute, row_blocks, working_dtype
from monge._checks import check_batches, check_same, check_vector
from monge._value import value
from monge.errors import InputError, ShapeError
from monge.geometry import Geometry

from . import _validate
from .base import Coupling, Entries, Rows

__all__ = ["MixtureCoupling"]


@value
class MixtureCoupling(Coupling):
    r"""The plan $\sum_l w_l P^{(l)}$, where one coupling holds all the $P^{(l)}$ along its last batch dimension.

    The mean of the plans of slices or of minibatches is a plan of this kind. A mixture of permutations is applied by
    gathering. The results of the L plans are added a few at a time, in the memory of one result.

    Args:
        component: The plans, with the axis l as the last batch dimension.
        weights: The weight of each plan, uniform with sum one by default.

    Raises:
        InputError: If a weight is negative or not finite.
        ShapeError, DtypeError, DeviceError: If plans and weights do not fit together.

    Example:
        >>> import torch
        >>> from monge.coupling import MixtureCoupling, PermutationCoupling
        >>> both = PermutationCoupling(torch.tensor([[0, 1], [1, 0]]))
        >>> MixtureCoupling(both).dense()
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]])
    """

    component: Coupling
    weights: Float[Tensor, "*b l"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        component = self.component
        if not isinstance(component, Coupling) or not component.batch_shape:
            told = tuple(component.shape) if isinstance(component, Coupling) else type(component).__name__
            raise ShapeError(
                f"component must be a coupling with the axis of the mixture as its last batch dimension, "
                f"(*b, l, n, m), but is {told}: stack the plans in one coupling, or add them with SumCoupling."
            )
        count = component.batch_shape[-1]
        if count == 0:
            raise InputError("component must hold at least one plan, but its last batch dimension is 0.")
        if self.weights is None:
            weights = torch.full((count,), 1.0 / count, dtype=component.dtype, device=component.device)
            object.__setattr__(self, "weights", weights)
            return
        check_vector("weights", self.weights, count, "weight per plan")
        check_same(component=component, weights=self.weights)
        _validate.masses(weights=self.weights)
        check_batches(component=component.batch_shape, weights=self.weights.shape)

    def _shape(self) -> tuple[int, ...]:
        *batch, n, m = self.component._shape()
        return (*broadcast_shapes(tuple(batch), self.weights.shape)[:-1], n, m)

    def _told(self) -> tuple[str, ...]:
        return (f"of {self.weights.shape[-1]} {type(self.component).__name__}",)

    def _scalars_per_entry(self) -> int:
        return 1 + self.component._scalars_per_entry()

    def _add_up(self, ask: Callable[[Coupling], Tensor], core: int, numbers: int) -> Tensor:
        """The weighted sum of what ``ask`` gives for the plans.

        Args:
            ask: A question to plans with shape (*b, some of l, n, m).
            core: How many dimensions follow the batch in its answer.
            numbers: How many numbers one plan's answer holds.
        """
        slices = row_blocks(self.weights.shape[-1], working_dtype(self).itemsize * numbers)
        batch = self.component.batch_shape

        def part(some: slice) -> Tensor:
            chosen = self.component
            if len(slices) > 1:
                chosen = chosen._select((*(slice(None),) * (len(batch) - 1), some), batch)
            answer = ask(chosen)
            weights = self.weights[..., some][(..., *(None,) * core)]
            return (weights * answer).sum(-1 - core)

        if len(slices) == 1:
            return part(slices[0])
        return functools.reduce(torch.add, (recompute(part, some) for some in slices))

    def _transpose(self) -> MixtureCoupling:
        return self._make(component=self.component._transpose(), weights=self.weights)

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        *own, n, _ = self._shape()
        numbers = math.prod(broadcast_shapes(tuple(own), v.shape[:-2])) * n * v.shape[-1]
        return self._add_up(lambda plans: plans._matmul(v[..., None, :, :]), 2, numbers)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        *batch, n, m = self._shape()
        count = len(range(n)[rows]) if isinstance(rows, slice) else len(rows)
        return self._add_up(lambda plans: plans._block(rows), 2, math.prod(batch) * count * m)

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        return self._add_up(lambda plans: plans._row_sums(), 1, math.prod(self._shape()[:-1]))

    def _inner(self, geometry: Geometry) -> Float[Tensor, "*b"]:
        batch = geometry.batch_shape
        lifted = geometry._select((*(slice(None),) * len(batch), None), batch)
        numbers = math.prod(self._shape()[:-1]) * max(1, geometry._scalars_per_entry())
        return self._add_up(lambda plans: plans._inner(lifted), 0, numbers)

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        numbers = math.prod(self._shape()[:-2]) * i.shape[-1]
        return self._add_up(lambda plans: plans._at(i[..., None, :], j[..., None, :]), 1, numbers)

    def _entries(self) -> Entries | None:
        entries = self.component._entries()
        if entries is None:
            return None
        batch = (*self._shape()[:-2], self.weights.shape[-1])
        i, j, w = (part.expand(*batch, part.shape[-1]) for part in entries)
        return i.flatten(-2), j.flatten(-2), (w * self.weights[..., None]).flatten(-2)

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> MixtureCoupling:
        return self._make(component=self.component._scale(row[..., None, :], col[..., None, :]), weights=self.weights)

    def _select(self, index: tuple[Any, ...], batch: torch.Size) -> MixtureCoupling:
        whole = torch.Size((*batch, self.weights.shape[-1]))
        return self._make(component=self.component._select(index, whole), weights=pick(self.weights, 1, batch, index))

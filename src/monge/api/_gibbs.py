"""Sums with the Gibbs kernel exp(-C / epsilon): matrix products where those do not underflow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import pieces
from monge.errors import InputError
from monge.geometry import CostMatrix, Geometry, Grid
from monge.problem.marginal import rounding

# Costs of so many entries are held as a matrix; larger ones are streamed, unless they are sums over axes.
_HELD = 2**22
# What exp keeps in double precision, with a margin for the products of several axes.
_RANGE = 600.0


class Costs:
    """A cost in double precision, as the kernels of many epsilons need it: one matrix for each axis, or streamed."""

    def __init__(self, geometry: Geometry) -> None:
        geometry = geometry if geometry.dtype == torch.float64 else geometry.to(torch.float64)
        self.axes = None
        if isinstance(geometry, Grid) or math.prod(geometry.shape) <= _HELD:
            parts = geometry.axes if isinstance(geometry, Grid) else (geometry,)
            self.axes = [part.dense(max_bytes=2**62) for part in parts]
            geometry = Grid._make(axes=tuple(CostMatrix._make(cost=axis) for axis in self.axes))
        self.geometry = geometry
        lows, highs = zip(*(map(float, cost.aminmax()) for cost, _ in self._blocks()), strict=True)
        # The costs of a grid are sums over its axes, all others lie in one block or another.
        self.least, largest = (sum(lows), sum(highs)) if self.axes is not None else (min(lows), max(highs))
        # Infinite where a pair is forbidden: then a sum may need a term that is nothing beside the largest.
        self.spread = largest - self.least

    @cached_property
    def columns(self) -> Geometry:
        """The cost with both sides exchanged."""
        return self.geometry.T

    def asymmetry(self) -> float:
        """The largest |C_ij - C_ji| as a share of the largest cost; infinite where only one of the two is allowed."""
        apart, largest = 0.0, 0.0
        for cost, other in self._blocks():
            if cost.shape != other.shape:
                return math.inf
            if torch.equal(cost, other):
                continue
            apart = max(apart, float(torch.where(cost == other, 0.0, (cost - other).abs()).amax()))
            largest = max(largest, float(cost.masked_fill(cost == math.inf, 0.0).abs().amax()))
        return apart / largest if apart else 0.0

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All costs, and the same with rows and columns exchanged, some rows of an axis at a time."""
        if self.axes is not None:
            yield from ((axis, axis.mT) for axis in self.axes)
            return
        n, m = self.geometry.shape
        for rows in pieces(n, max(1, _HELD // m)):
            yield self.geometry._block(rows), self.columns._block(rows)


def check_symmetric(geometry: Geometry, asymmetry: float, what: str, remedy: str = "") -> None:
    """C_ij = C_ji, up to the rounding of the costs."""
    if asymmetry > rounding(geometry.dtype):
        raise InputError(
            f"geometry must be symmetric, C_ij = C_ji, for {what}, but its costs differ by {asymmetry:.1e} of the "
            f"largest: give both sides the same points in one order{remedy}."
        )


class Gibbs:
    """The kernel at one epsilon."""

    def __init__(self, costs: Costs, epsilon: float) -> None:
        self.costs, self.epsilon, self.least = costs, epsilon, costs.least / epsilon
        # What sums over rows and what sums over columns is multiplied with, one factor an axis.
        self.factors: tuple[list[Tensor], list[Tensor]] | None = None
        if costs.axes is not None and costs.spread <= _RANGE * epsilon:
            factors = [torch.exp((axis.amin() - axis) / epsilon) for axis in costs.axes]
            self.factors = factors, [factor.mT.contiguous() for factor in factors]

    def rows(self, log_u: Float[Tensor, "*b m"]) -> Float[Tensor, "*b n"]:
        """Log K u."""
        return self._sums(1, log_u)

    def columns(self, log_v: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        """Log K^T v."""
        return self._sums(0, log_v)

    def through(
        self, log_v: Float[Tensor, "k n"], bins: Float[Tensor, "k m"], log_d: Float[Tensor, " n"] | None
    ) -> tuple[Float[Tensor, "k n"], Float[Tensor, " n"] | None]:
        """Log K u of the plans whose columns are met, u = bins / K^T v, and log K d.

        A bin that is empty stays so, even if its u is infinite.
        """
        if self.factors is None or log_v.device.type != "cpu":
            log_u = torch.where(bins > 0, bins.log() - self.columns(log_v), -math.inf)
            if log_d is None:
                return self.rows(log_u), None
            sums = self.rows(torch.cat([log_u, log_d[None]]))
            return sums[:-1], sums[-1]
        # No logarithm between the two products: within their range, u does not overflow. NumPy's loops cost less to
        # call than torch's, and stay on this thread: torch wakes others for a few hundred numbers.
        over_rows, over_columns = ([factor.numpy() for factor in side] for side in self.factors)
        v = log_v.numpy()
        top = v.max(-1, keepdims=True)
        u = bins.numpy() / _product(np.exp(v - top), over_rows)
        if log_d is None:
            return torch.from_numpy(np.log(_product(u, over_columns)) - top), None
        d = log_d.numpy()
        top_d = d.max()
        sums = np.log(_product(np.concatenate([u, np.exp(d - top_d)[None]]), over_columns))
        return torch.from_numpy(sums[:-1] - top), torch.from_numpy(sums[-1] + (top_d - self.least))

    def _sums(self, side: int, log: Tensor) -> Tensor:
        if self.factors is None:
            geometry = self.costs.geometry if side else self.costs.columns
            return -geometry._softmin(log.new_zeros(log.shape[-1]), log, self.epsilon) / self.epsilon
        top = log.amax(-1, keepdim=True).clamp(min=torch.finfo(log.dtype).min)
        return _product((log - top).exp(), self.factors[side]).log() + (top - self.least)


def _product(mass: Any, factors: list[Any]) -> Any:
    """(*b, m) to (*b, n), of torch or NumPy, an axis after the other: the last from the right, all others from left."""
    batch, last = mass.shape[:-1], factors[-1]
    mass = mass.reshape(-1, last.shape[0]) @ last
    rest = last.shape[1]
    for factor in reversed(factors[:-1]):
        mass = factor.T @ mass.reshape(-1, factor.shape[0], rest)
        rest *= factor.shape[1]
    return mass.reshape(*batch, rest)

"""Sums over one axis of a grid at a time: what makes a separable cost cheap.

A state holds log weights L of shape (*b, R, m): the axis that is summed next stands last, all others are flattened in
R. A step replaces the m target positions of that axis by its n source positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge import kernels
from monge._arrays import column, log_sum_exp, row_blocks
from monge._blocks import joined

from . import _stream


@dataclass(frozen=True)
class State:
    """What is known of every line of the grid that is still to be summed.

    Args:
        log: The log of the mass that is left there, -inf where there is none.
        values: Means of values under that mass, one channel a value.
        pays: Whether the values are means of the cost, so that each axis adds its own.
    """

    log: Float[Tensor, "*b r m"]
    values: Float[Tensor, "*b k r m"] | None = None
    pays: bool = False

    def map(self, function: Callable[[Tensor], Tensor]) -> State:
        """The same state with ``function`` applied to all it holds."""
        return State(function(self.log), None if self.values is None else function(self.values), self.pays)


def step(state: State, cost: Float[Tensor, "*b n m"], epsilon: float | Tensor) -> State:
    """Sum one axis: log' = log sum_j exp(log_j - C_ij / epsilon), and means under the terms of that sum."""
    cost = cost.to(state.log.dtype)
    if _resolved(cost, epsilon):
        return _product_step(state, cost, epsilon)
    if not state.pays and cost.ndim == 2 and not _stream.derives(cost, epsilon):
        return _kernel_step(state, cost, epsilon)
    return _log_step(state, cost, epsilon)


def _resolved(cost: Tensor, epsilon: float | Tensor) -> bool:
    """Whether exp(-C / epsilon) and the square of any sum with it stay far from underflow."""
    cost = cost.detach()
    spread = cost.amax((-1, -2)) - cost.amin((-1, -2))
    limit = 300.0 if cost.dtype == torch.float64 else 40.0
    if isinstance(epsilon, Tensor):
        epsilon = epsilon.detach()
    return bool((spread / epsilon <= limit).all())


def _product_step(state: State, cost: Tensor, epsilon: float | Tensor) -> State:
    """By a matrix product with exp(-C / epsilon), one exponential an entry of the axis."""
    low = cost.detach().amin((-1, -2), keepdim=True)
    kernel = (-(cost - low) / column(epsilon, 2)).exp().mT
    top = state.log.detach().amax(-1, keepdim=True)
    top = top.masked_fill(top == -math.inf, 0)
    mass = (state.log - top).exp()
    total = mass @ kernel
    empty = total == 0
    total = total.masked_fill(empty, 1)
    log = (total.log() + top - low / column(epsilon, 2)).masked_fill(empty, -math.inf)
    if state.values is None:
        return State(log)
    values = ((mass[..., None, :, :] * state.values).flatten(-3, -2) @ kernel).unflatten(-2, (-1, mass.shape[-2]))
    if state.pays:
        values = values + (mass @ (kernel * cost.mT))[..., None, :, :]
    return State(log, values / total[..., None, :, :], state.pays)


def _kernel_step(state: State, cost: Tensor, epsilon: float | Tensor) -> State:
    """In the log domain, by the kernels: every line is a problem of a batch that shares one stored cost."""
    pairs, of_line = kernels.Matrix(cost), column(epsilon)
    log = -kernels.softmin(pairs, state.log, of_line) / column(epsilon, 2)
    if state.values is None:
        return State(log)
    values = kernels.apply(pairs, None, state.log, state.values.movedim(-3, -1), of_line)
    return State(log, values.movedim(-1, -3))


def _log_step(state: State, cost: Tensor, epsilon: float | Tensor) -> State:
    """In the log domain, whatever is asked: one exponential a term, recomputed in a backward pass."""
    forbidden = cost == math.inf
    finite = cost.masked_fill(forbidden, 0)
    scaled = (finite / column(epsilon, 2)).masked_fill(forbidden, math.inf)

    def body(lines: slice) -> tuple[Tensor, ...]:
        score = state.log[..., lines, None, :] - scaled[..., None, :, :]
        total, empty = log_sum_exp(score.masked_fill(forbidden[..., None, :, :], -math.inf))
        log = total.masked_fill(empty, -math.inf)
        if state.values is None:
            return (log,)
        weight = (score - total[..., None]).exp()
        values = torch.einsum("...rnm,...krm->...krn", weight, state.values[..., lines, :])
        if state.pays:
            values = values + (weight * finite[..., None, :, :]).sum(-1)[..., None, :, :]
        return log, values

    return State(*joined(body, _lines(state.log, cost), -2), pays=state.pays)


@torch.no_grad()
def nearest(
    reduced: Float[Tensor, "*b c r m"], cost: Float[Tensor, "*b n m"], k: int
) -> tuple[Float[Tensor, "*b k r n"], Int[Tensor, "*b k r n"]]:
    """Over one axis and c candidates a line, the k smallest C_ij + reduced_j, and which of the (c, m) they are."""
    cost = cost.to(reduced.dtype)
    count, m = reduced.shape[-3], reduced.shape[-1]
    k = min(k, count * m)

    def body(lines: slice) -> tuple[Tensor, Tensor]:
        total = reduced[..., lines, None, :] + cost[..., None, None, :, :]
        total = total.movedim(-4, -2).flatten(-2)
        found, index = total.min(-1, keepdim=True) if k == 1 else total.topk(k, -1, largest=False)
        return found.movedim(-1, -3), index.movedim(-1, -3)

    return joined(body, _lines(reduced, cost), -2)


def _lines(state: Tensor, cost: Tensor) -> list[slice]:
    """Slices of the lines of a state, so that a block of lines x n x m stays small."""
    lines, m = state.shape[-2:]
    size = math.prod((*state.shape[:-2], *cost.shape[:-1])) * m * state.element_size()
    return row_blocks(lines, size)

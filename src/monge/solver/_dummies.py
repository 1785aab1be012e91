"""Marginals that may be missed at a linear price, as a balanced problem with a dummy point on each side.

A unit of source that finds no target goes to the dummy column, at the price of leaving it or of overfilling the best
target; a unit of target that finds no source comes from the dummy row, at the price of going without or of creating
mass at the best source. Unused dummy mass meets in the corner, for nothing; with a given total mass the corner is
forbidden, and the dummies hold just what must stay behind.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from monge._arrays import at, broadcast_shapes, column
from monge.errors import InfeasibleError
from monge.kernels import Basis
from monge.problem import Fixed, Free, Linear, Relaxed
from monge.problem.marginal import Marginal


class Extended(NamedTuple):
    """The balanced problems, and where flow through a dummy really goes; -1 is nowhere."""

    cost: Float[Tensor, "*b n1 m1"]
    a: Float[Tensor, "*b n1"]
    b: Float[Tensor, "*b m1"]
    overfilled: Int[Tensor, "*b n"]
    created: Int[Tensor, "*b m"]
    shift: bool

    def restrict(self, basis: Basis) -> Basis:
        """The plans and potentials of the problems without dummies."""
        n, m = self.overfilled.shape[-1], self.created.shape[-1]
        i, j, w, f, g = basis
        to = torch.where(j < m, j, at(self.overfilled, i.clamp_max(n - 1)))
        source = torch.where(i < n, i, at(self.created, j.clamp_max(m - 1)))
        keep = ~((i == n) & (j == m)) & (to >= 0) & (source >= 0) & (w > 0)
        # What is kept comes first, and zeros follow where other problems keep more.
        most = int(keep.sum(-1).amax()) if keep.numel() else 0
        order = keep.long().argsort(dim=-1, descending=True, stable=True)[..., :most]
        source, to, w = (torch.where(keep, part, 0).gather(-1, order) for part in (source, to, w))
        f, g, last_f, last_g = f[..., :n], g[..., :m], f[..., n:], g[..., m:]
        return Basis(source, to, w, f + last_g, g + last_f) if self.shift else Basis(source, to, w, f, g)


def extend(problem: Linear, cost: Float[Tensor, "*b n m"]) -> Extended:
    """The balanced problems with dummies."""
    (n, m), a, b = problem.shape, problem.a, problem.b
    total_a, total_b = a.sum(-1), b.sum(-1)
    nowhere_n, nowhere_m = (torch.full((size,), -1, device=cost.device) for size in (n, m))
    if problem.mass is not None:
        whole = _bordered(cost, cost.new_zeros(n), cost.new_zeros(m), math.inf)
        a = _longer(a, (total_b - problem.mass).clamp_min(0))
        b = _longer(b, (total_a - problem.mass).clamp_min(0))
        return Extended(whole, a, b * (a.sum(-1) / b.sum(-1))[..., None], nowhere_n, nowhere_m, False)
    (leave, create), (without, overfill) = _prices(problem.source), _prices(problem.target)
    best_j, best_i = cost.min(-1), cost.min(-2)
    if bool((cost.amin((-2, -1)) + (create + overfill) < 0).any()):
        raise InfeasibleError(
            "the problem must have a least value, but is unbounded: some costs are negative, and more mass on both "
            "sides lowers the value without end. Fix one marginal, or add a number to all costs."
        )
    leave, create, without, overfill = (column(price) for price in (leave, create, without, overfill))
    beyond, from_nothing = best_j.values + overfill, best_i.values + create
    whole = _bordered(cost, beyond.clamp(max=leave), from_nothing.clamp(max=without), 0.0)
    overfilled = torch.where(beyond < leave, best_j.indices, nowhere_n)
    created = torch.where(from_nothing < without, best_i.indices, nowhere_m)
    return Extended(whole, _longer(a, total_b), _longer(b, total_a), overfilled, created, True)


def _bordered(cost: Tensor, column: Tensor, row: Tensor, corner: float) -> Tensor:
    """The costs with one more column and one more row."""
    batch = broadcast_shapes(cost.shape[:-2], column.shape[:-1], row.shape[:-1])
    whole = pad(cost.expand(*batch, *cost.shape[-2:]), (0, 1, 0, 1), value=corner)
    whole[..., :-1, -1], whole[..., -1, :-1] = column, row
    return whole


def _longer(weights: Tensor, last: Tensor) -> Tensor:
    """The weights of each problem with one more."""
    batch = broadcast_shapes(weights.shape[:-1], last.shape)
    return torch.cat([weights.expand(*batch, weights.shape[-1]), last.expand(batch)[..., None]], -1)


def _prices(marginal: Marginal) -> tuple[Tensor | float, Tensor | float]:
    """What a unit too little and a unit too much cost, per problem."""
    if isinstance(marginal, Relaxed):
        assert marginal._rates is not None
        return marginal._rates
    return math.inf if isinstance(marginal, Fixed) else 0.0, 0.0 if isinstance(marginal, Free) else math.inf

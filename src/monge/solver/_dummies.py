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
from torch import Tensor
from torch.nn.functional import pad

from monge.errors import InfeasibleError
from monge.kernels import Basis
from monge.problem import Fixed, Free, Linear, Relaxed
from monge.problem.marginal import Marginal

__all__ = ["extend"]


class Extended(NamedTuple):
    """The balanced problem, and where flow through a dummy really goes; -1 is nowhere."""

    cost: Tensor
    a: Tensor
    b: Tensor
    overfilled: Tensor
    created: Tensor
    shift: bool

    def restrict(self, basis: Basis) -> Basis:
        """The plan and potentials of the problem without dummies."""
        n, m = len(self.overfilled), len(self.created)
        i, j, w, f, g = basis
        to = torch.where(j < m, j, self.overfilled[i.clamp_max(n - 1)])
        source = torch.where(i < n, i, self.created[j.clamp_max(m - 1)])
        corner = (i == n) & (j == m)
        keep = ~corner & (to >= 0) & (source >= 0)
        f, g, last_f, last_g = f[:n], g[:m], f[n], g[m]
        if self.shift:
            f, g = f + last_g, g + last_f
        return Basis(source[keep], to[keep], w[keep], f, g)


def extend(problem: Linear, cost: Tensor) -> Extended:
    """The balanced problem with dummies."""
    (n, m), a, b = cost.shape, problem.a, problem.b
    whole = pad(cost, (0, 1, 0, 1), value=math.inf)
    nowhere_n, nowhere_m = (torch.full((size,), -1, device=cost.device) for size in (n, m))
    if problem.mass is not None:
        mass = float(problem.mass)
        whole[:n, m], whole[n, :m] = 0.0, 0.0
        left_a, left_b = max(float(b.sum()) - mass, 0.0), max(float(a.sum()) - mass, 0.0)
        a, b = pad(a, (0, 1), value=left_a), pad(b, (0, 1), value=left_b)
        return Extended(whole, a, b * (a.sum() / b.sum()), nowhere_n, nowhere_m, False)
    (leave, create), (without, overfill) = _prices(problem.source), _prices(problem.target)
    best_j, best_i = cost.min(1), cost.min(0)
    if create + overfill < math.inf and float(cost.min()) + create + overfill < 0:
        raise InfeasibleError(
            "the problem must have a least value, but is unbounded: some costs are negative, and more mass on both "
            "sides lowers the value without end. Fix one marginal, or add a number to all costs."
        )
    beyond, from_nothing = best_j.values + overfill, best_i.values + create
    whole[:n, m], whole[n, :m] = beyond.clamp(max=leave), from_nothing.clamp(max=without)
    whole[n, m] = 0.0
    overfilled = torch.where(beyond < leave, best_j.indices, nowhere_n)
    created = torch.where(from_nothing < without, best_i.indices, nowhere_m)
    a, b = pad(a, (0, 1), value=float(b.sum())), pad(b, (0, 1), value=float(a.sum()))
    return Extended(whole, a, b, overfilled, created, True)


def _prices(marginal: Marginal) -> tuple[float, float]:
    """What a unit too little and a unit too much cost."""
    if isinstance(marginal, Relaxed):
        assert marginal._rates is not None
        missing, excess = marginal._rates
        return float(missing), float(excess)
    return math.inf if isinstance(marginal, Fixed) else 0.0, 0.0 if isinstance(marginal, Free) else math.inf

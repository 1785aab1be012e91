"""The C++ twin: a network simplex on integer masses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._extension import call
from ...stream import Matrix, Pairs
from .._reduced import Reduced
from ..arcs import Arcs

__all__ = ["INFEASIBLE", "LIMIT", "NOTHING", "OPTIMAL", "Hints", "Solved", "simplex"]

OPTIMAL, LIMIT, INFEASIBLE = 0, 1, 2


class Hints(NamedTuple):
    """Where to start: arcs of an earlier plan, potentials of a similar problem; None for no idea."""

    i: Tensor | None = None
    j: Tensor | None = None
    f: Tensor | None = None
    g: Tensor | None = None

    @property
    def mirrored(self) -> Hints:
        """The same with the roles of rows and columns exchanged."""
        return Hints(self.j, self.i, self.g, self.f)

    def of(self, costs: Reduced) -> Hints:
        """The same hints for reduced costs."""
        if self.f is None or self.g is None:
            return self
        f, g = (self.f - costs.row) / costs.scale, (self.g - costs.col) / costs.scale
        return self._replace(f=f, g=g)


class Solved(NamedTuple):
    """What the loop reached, and why it stopped."""

    status: int
    pivots: int
    i: Tensor
    j: Tensor
    w: Tensor
    f: Tensor
    g: Tensor

    @property
    def mirrored(self) -> Solved:
        """The same with the roles of rows and columns exchanged."""
        return self._replace(i=self.j, j=self.i, f=self.g, g=self.f)


# What there is to say of no mass at all.
NOTHING = Solved(OPTIMAL, 0, *[torch.zeros(0, dtype=torch.int64)] * 2, *[torch.zeros(0, dtype=torch.float64)] * 3)


def simplex(pairs: Pairs | Arcs, a: Tensor, b: Tensor, hints: Hints, max_iter: int | None, rounding: float) -> Solved:
    """Positive float64 weights of equal mass on the CPU, float64 costs; the rest is settled here.

    The loop looks for better entries a row at a time, which is dear for many short rows: the longer side is made that
    of the columns.
    """
    if pairs.shape[0] > pairs.shape[1]:
        return _solved(pairs.transpose(), b, a, hints.mirrored, max_iter, rounding, True).mirrored
    return _solved(pairs, a, b, hints, max_iter, rounding, False)


def _solved(
    pairs: Pairs | Arcs, a: Tensor, b: Tensor, hints: Hints, max_iter: int | None, rounding: float, turned: bool
) -> Solved:
    """What the loop says; the mass of the plan is that of `a`, or of `b` if the sides are turned."""
    limit = -1 if max_iter is None else max_iter
    given = (None if t is None else t.contiguous().numpy() for t in (a, b, *hints))
    costs = [t.contiguous().numpy() for t in (pairs.by_rows() if isinstance(pairs, Arcs) else pairs.tensors())]
    rule: tuple[float | int, ...] = ()
    if isinstance(pairs, Matrix):
        loop = "simplex_matrix"
    elif isinstance(pairs, Arcs):
        loop, rule = "simplex_arcs", (pairs.m,)
    else:
        loop, rule = "simplex_points", (pairs.kind == "dot", float(pairs.p), float(pairs.power))
    status, pivots, *arrays = call(loop, *costs, *rule, *given, limit, rounding, turned)
    i, j, w, f, g = (torch.from_numpy(array) for array in arrays)
    return Solved(status, pivots, i.long(), j.long(), w, f, g)

"""The C++ twin: a network simplex on integer masses; problems in parallel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..._extension import call
from ...stream import Matrix, Pairs
from ..arcs import Arcs

__all__ = ["INFEASIBLE", "LIMIT", "OPTIMAL", "Hints", "Solved", "simplex"]

OPTIMAL, LIMIT, INFEASIBLE = 0, 1, 2


class Hints(NamedTuple):
    """Where to start: arcs of earlier plans, potentials of similar problems; None for no idea."""

    i: Tensor | None = None
    j: Tensor | None = None
    w: Tensor | None = None
    f: Tensor | None = None
    g: Tensor | None = None


class Solved(NamedTuple):
    """What the loop reached for each problem, and why it stopped; behind the entries of a plan are zeros."""

    status: Tensor
    i: Tensor
    j: Tensor
    w: Tensor
    f: Tensor
    g: Tensor

    @classmethod
    def nothing(cls, problems: int, n: int, m: int) -> Solved:
        """Room for the answers, which says that nothing moves."""
        entries = problems, max(n + m - 1, 0)
        i, j = torch.zeros(2, *entries, dtype=torch.int64)
        w, f, g = (torch.zeros(size, dtype=torch.float64) for size in (entries, (problems, n), (problems, m)))
        return cls(torch.full((problems,), OPTIMAL), i, j, w, f, g)


def simplex(pairs: Pairs | Arcs, a: Tensor, b: Tensor, hints: Hints, max_iter: int | None, rounding: float) -> Solved:
    """Float64 weights (k, n) and (k, m) on the CPU, costs of k problems or one for all; the rest is settled there."""
    solved = Solved.nothing(len(a), *pairs.shape)
    given = (None if t is None else t.contiguous().numpy() for t in (a, b, *hints))
    costs = (t.contiguous().numpy() for t in (pairs.by_rows() if isinstance(pairs, Arcs) else pairs.tensors()))
    rule: tuple[float, ...] = ()
    if isinstance(pairs, Matrix):
        loop = "simplex_matrix"
    elif isinstance(pairs, Arcs):
        loop, rule = "simplex_arcs", (pairs.m,)
    else:
        loop, rule = "simplex_points", (pairs.kind == "dot", float(pairs.p), float(pairs.power))
    limit = -1 if max_iter is None else max_iter
    answers = (t.numpy() for t in solved)
    call(loop, *costs, *rule, *given, limit, rounding, *answers, None, torch.get_num_threads())
    return solved

"""The definition: the transport problem as a linear programme."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...stream import Matrix, Pairs, ctransform
from .._reduced import reduced
from ..arcs import Arcs
from .native import INFEASIBLE, OPTIMAL, Hints, Solved

__all__ = ["programme", "simplex"]


def simplex(pairs: Pairs | Arcs, a: Tensor, b: Tensor, hints: Hints, max_iter: int | None, rounding: float) -> Solved:
    """One problem after the other; a linear programme starts from nowhere, and knows no limit."""
    pairs = Matrix(pairs.block(slice(None))) if isinstance(pairs, Arcs) else pairs
    solved = Solved.nothing(len(a), *pairs.shape)
    costs = [t.expand(len(a), *t.shape[1:]) for t in pairs.tensors()]
    for k, weights in enumerate(zip(a, b, strict=True)):
        held = [cost[k] for cost in costs]
        own = Matrix(held[0]) if isinstance(pairs, Matrix) else replace(pairs, x=held[0], y=held[1])
        solved.status[k], entries, solved.f[k], solved.g[k] = _one(own, *weights)
        for part, found in zip((solved.i, solved.j, solved.w), entries, strict=True):
            part[k, : len(found)] = found
    return solved


def _one(pairs: Pairs, a: Tensor, b: Tensor) -> tuple[int, tuple[Tensor, ...], Tensor, Tensor]:
    """Status, entries and potentials of a problem, in which atoms may be absent."""
    rows, columns, absent_rows, absent_columns = (chosen.nonzero()[:, 0] for chosen in (a > 0, b > 0, a <= 0, b <= 0))
    f, g = torch.zeros_like(a), torch.full_like(b, -math.inf)
    status, i, j, w = OPTIMAL, rows[:0], columns[:0], a[:0]
    if len(rows):
        less = reduced(pairs.rows(rows).transpose().rows(columns).transpose().block(slice(None)))
        status, i, j, w, f[rows], g[columns] = programme(Matrix(less.cost), a[rows], b[columns])
        f[rows], g[columns] = less.restore(f[rows], g[columns])
        half = ((a * f).sum() - (b[columns] * g[columns]).sum()) / (a.sum() + b.sum())
        f, g = f - half, g + half
    f[absent_rows] = _finite(ctransform(pairs.rows(absent_rows), g)[0])
    g[absent_columns] = _finite(ctransform(pairs.transpose().rows(absent_columns), f)[0])
    return status, (rows[i], columns[j], w), f, g


def _finite(potential: Tensor) -> Tensor:
    # An atom that may go nowhere is not bounded by anything; zero is as good as any other number.
    return torch.where(torch.isfinite(potential), potential, 0.0)


def programme(pairs: Pairs, a: Tensor, b: Tensor) -> tuple[int, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Status, basic plan and potentials of one problem with positive weights, if a plan avoids infinite costs."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix, vstack

    cost = pairs.block(slice(None))
    n, m = pairs.shape
    i, j = torch.nonzero(torch.isfinite(cost), as_tuple=True)
    prices = cost[i, j].numpy()
    scale = float(np.abs(prices).max(initial=0.0)) or 1.0
    mass = float(a.sum())
    arcs = np.arange(len(prices))
    ones = np.ones(len(prices))
    rows = coo_matrix((ones, (i.numpy(), arcs)), shape=(n, len(prices)))
    columns = coo_matrix((ones, (j.numpy(), arcs)), shape=(m, len(prices)))
    weights = np.concatenate([a.numpy() / mass, b.numpy() / float(b.sum())])
    # One constraint follows from the others; without it the last potential is free, and set to zero.
    solved = linprog(
        prices / scale,
        A_eq=vstack([rows, columns]).tocsr()[:-1],
        b_eq=weights[:-1],
        bounds=(0, None),
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if solved.status == 2:
        nowhere = torch.zeros(0, dtype=torch.int64)
        return INFEASIBLE, nowhere, nowhere, a[:0], torch.zeros_like(a), torch.zeros_like(b)
    if solved.status != 0:
        raise RuntimeError(f"the linear programme of the reference simplex failed: {solved.message}")
    duals = torch.from_numpy(np.append(solved.eqlin.marginals, 0.0) * scale)
    w = torch.from_numpy(solved.x * mass)
    kept = w > 0
    return OPTIMAL, i[kept], j[kept], w[kept], duals[:n], duals[n:]

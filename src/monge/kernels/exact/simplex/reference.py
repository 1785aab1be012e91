"""The definition: the transport problem as a linear programme."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...stream import Pairs
from ..arcs import Arcs
from .native import INFEASIBLE, NOTHING, OPTIMAL, Solved

__all__ = ["simplex"]


def simplex(pairs: Pairs | Arcs, a: Tensor, b: Tensor) -> Solved:
    """Basic plan and potentials of the programme, if a plan avoids the infinite costs."""
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
        return NOTHING._replace(status=INFEASIBLE)
    if solved.status != 0:
        raise RuntimeError(f"the linear programme of the reference simplex failed: {solved.message}")
    duals = torch.from_numpy(np.append(solved.eqlin.marginals, 0.0) * scale)
    w = torch.from_numpy(solved.x * mass)
    kept = w > 0
    return Solved(OPTIMAL, 0, i[kept], j[kept], w[kept], duals[:n], duals[n:])

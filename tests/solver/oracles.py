"""Linear programs that say what the exact solvers must find, and the problems they are asked."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import coo_matrix
from torch import Tensor


def transport_value(cost: Tensor, a: Tensor, b: Tensor) -> float:
    """The optimal value of the balanced problem, by linear programming on a cost and masses of size one."""
    cost, a, b = (part.detach().double().numpy() for part in (cost, a, b))
    n, m = cost.shape
    finite = np.isfinite(cost)
    scale = max(np.abs(cost[finite]).max(), 1e-300)
    flat = np.arange(n * m)
    rows = np.concatenate([flat // m, n + flat % m])
    equal = coo_matrix((np.ones(2 * n * m), (rows, np.concatenate([flat, flat]))))
    right = np.concatenate([a / a.sum(), b / b.sum()])
    price = np.where(finite, cost / scale, 0).ravel()
    bounds = np.stack([np.zeros(n * m), np.where(finite, 1.0, 0.0).ravel()], 1)
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = linprog(price, A_eq=equal.tocsr(), b_eq=right, bounds=bounds, method="highs-ds", options=options)
    assert found.status == 0, found.message
    return found.fun * scale * a.sum()


def cloud(n: int, d: int, seed: int, *, kind: str = "normal", scale: float = 1.0) -> Tensor:
    """Points in float64: normal, on a small integer grid (many ties), or with every point twice."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "integer":
        return scale * torch.randint(0, 3, (n, d), generator=generator).double()
    points = scale * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return points[torch.arange(n) // 2] if kind == "twice" else points


def weights(n: int, seed: int, *, kind: str = "random", mass: float = 1.0) -> Tensor:
    """Weights in float64: random, equal, or with zeros (never all of them)."""
    drawn = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1e-3
    if kind == "equal":
        drawn = torch.ones(n, dtype=torch.float64)
    elif kind == "zeros" and n > 1:
        drawn[torch.arange(n) % 3 == 1] = 0.0
    return mass * drawn / drawn.sum()

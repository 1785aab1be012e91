"""The least objective of a small linear program, from another program's hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from monge.problem import AtMost, Fixed, Linear


def best_value(problem: Linear) -> Tensor | None:
    """The optimum of every problem of an exact batch, by SciPy; None where it is no program with hard constraints."""
    if problem.entropic or not all(isinstance(side, (Fixed, AtMost)) for side in (problem.source, problem.target)):
        return None
    cost, batch = problem.geometry.dense().detach().cpu().double(), problem.batch_shape
    a, b = (w.detach().cpu().double().expand(*batch, w.shape[-1]) for w in (problem.a, problem.b))
    mass = None if problem.mass is None else problem.mass.detach().cpu().double().expand(batch)
    found = [
        _solved(problem, C, w, v, None if mass is None else float(mass.reshape(-1)[k]))
        for k, (C, w, v) in enumerate(
            zip(
                *(t.reshape(-1, *t.shape[len(batch) :]) for t in (cost.expand(*batch, *cost.shape[-2:]), a, b)),
                strict=True,
            )
        )
    ]
    return torch.tensor(found, dtype=torch.float64).reshape(batch)


def _solved(problem: Linear, cost: Tensor, a: Tensor, b: Tensor, mass: float | None) -> float:
    from scipy.optimize import linprog

    n, m = cost.shape
    sums = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    wanted = np.concatenate([a.numpy(), b.numpy()])
    fixed = np.repeat([isinstance(side, Fixed) for side in (problem.source, problem.target)], (n, m))
    equal, right = sums[fixed], wanted[fixed]
    if mass is not None:
        equal, right = np.vstack([equal, np.ones(n * m)]), np.append(right, mass)
    prices = cost.numpy().ravel()
    allowed = np.isfinite(prices)
    answer = linprog(
        np.where(allowed, prices, 0), A_ub=sums[~fixed] if (~fixed).any() else None,
        b_ub=wanted[~fixed] if (~fixed).any() else None, A_eq=equal if len(equal) else None,
        b_eq=right if len(equal) else None, bounds=np.stack([np.zeros(n * m), np.where(allowed, np.inf, 0)], 1),
    )  # fmt: skip
    return float(answer.fun)

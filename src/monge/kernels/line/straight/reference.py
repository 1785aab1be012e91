"""The definition: sort, merge the cumulative weights, sum; plain autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from monge._arrays import gap_power

from .._rows import RowProblem, levels, staircase

__all__ = ["line_distance", "line_potentials"]


def line_distance(problem: RowProblem, p: float) -> Tensor:
    """W_p^p of every row."""
    x, order_x = problem.x.sort(dim=-1, stable=True)
    y, order_y = problem.y.sort(dim=-1, stable=True)
    if problem.a is None and problem.b is None and x.shape == y.shape:
        return gap_power(x - y, p).mean(-1)
    level_x, level_y = levels(problem.a, order_x), levels(problem.b, order_y)
    i, j, mass = staircase(level_x, level_y)
    gaps = x.gather(-1, i) - y.gather(-1, j)
    return (mass * gap_power(gaps, p).double()).sum(-1).to(x.dtype)


def line_potentials(problem: RowProblem, p: float) -> tuple[Tensor, Tensor]:
    """Potentials: the derivative by the weights, with the value added since that derivative is centred."""
    sides = zip(problem[:2], problem.shares, strict=True)
    a, b = ((torch.ones_like(points, dtype=torch.float64) * share).detach() for points, share in sides)
    with torch.enable_grad():
        a.requires_grad_()
        b.requires_grad_()
        scaled = problem._replace(a=a / a.sum(-1, keepdim=True), b=b / b.sum(-1, keepdim=True))
        cost = line_distance(scaled, p)
        f, g = torch.autograd.grad(cost.sum(), (a, b))
    return f + cost.detach().double()[:, None], g

"""The definition: sort, merge the cumulative weights, sum; plain autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from .._rows import RowProblem

__all__ = ["levels", "line_distance", "line_potentials", "power", "staircase"]


def line_distance(problem: RowProblem, p: float) -> Tensor:
    """W_p^p of every row."""
    x, order_x = problem.x.sort(dim=-1, stable=True)
    y, order_y = problem.y.sort(dim=-1, stable=True)
    if problem.a is None and problem.b is None and x.shape == y.shape:
        return power(x - y, p).mean(-1)
    level_x, level_y = levels(problem.a, order_x), levels(problem.b, order_y)
    i, j, mass = staircase(level_x, level_y)
    gaps = x.gather(-1, i) - y.gather(-1, j)
    return (mass * power(gaps, p).double()).sum(-1).to(x.dtype)


def power(gap: Tensor, p: float) -> Tensor:
    """|gap|^p with a zero slope at zero, whatever p >= 1."""
    if p == 2:
        return gap.square()
    size = gap.abs()
    return size if p == 1 else torch.where(size > 0, size, 1).pow(p) * (size > 0)


def levels(weights: Tensor | None, order: Tensor) -> Tensor:
    """Cumulative weights in sorted order, exactly one from the last atom with mass on: none is left for absent ones."""
    n = order.shape[-1]
    if weights is None:
        steps = torch.arange(1, n + 1, dtype=torch.float64, device=order.device) / n
        return steps.expand(order.shape)
    ordered = weights.expand(order.shape).gather(-1, order)
    running = ordered.cumsum(-1)
    full = (ordered > 0).flip(-1).cumsum(-1).flip(-1) <= (ordered > 0)
    return running + (torch.where(full, 1.0, running) - running).detach()  # mass may still come to an absent atom


def staircase(level_x: Tensor, level_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row index, column index and mass of the n + m pieces between merged levels; pieces may be empty.

    Indices count the levels below, so that an atom without mass has an empty piece of its own, which its weight fills.
    """
    n, m = level_x.shape[-1], level_y.shape[-1]
    merged, order = torch.cat([level_x, level_y], -1).sort(dim=-1, stable=True)
    row = (order < n).long()
    i, j = row.cumsum(-1) - row, (1 - row).cumsum(-1) - (1 - row)
    mass = merged.diff(dim=-1, prepend=torch.zeros_like(merged[..., :1]))
    return i.clamp_(max=n - 1), j.clamp_(max=m - 1), mass


def line_potentials(problem: RowProblem, p: float) -> tuple[Tensor, Tensor]:
    """Potentials: the derivative by the weights, with the value added since that derivative is centred."""
    rows, n, m = problem.x.shape[0], problem.x.shape[-1], problem.y.shape[-1]
    a = torch.full((1, n), 1 / n, dtype=torch.float64, device=problem.x.device) if problem.a is None else problem.a
    b = torch.full((1, m), 1 / m, dtype=torch.float64, device=problem.x.device) if problem.b is None else problem.b
    a, b = a.detach().expand(rows, n).clone(), b.detach().expand(rows, m).clone()
    with torch.enable_grad():
        a.requires_grad_()
        b.requires_grad_()
        scaled = (a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True))
        cost = line_distance(problem._replace(a=scaled[0], b=scaled[1]), p)
        f, g = torch.autograd.grad(cost.sum(), (a, b))
    return f + cost.detach().double()[:, None], g

"""The definition: sort, merge the cumulative weights, sum; plain autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from .._rows import RowProblem

__all__ = ["line_distance", "staircase"]


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
    """Cumulative weights in sorted order, the last one exactly one."""
    n = order.shape[-1]
    if weights is None:
        steps = torch.arange(1, n + 1, dtype=torch.float64, device=order.device) / n
        return steps.expand(order.shape)
    running = weights.expand(order.shape).gather(-1, order).cumsum(-1)
    return torch.cat([running[..., :-1], torch.ones_like(running[..., -1:])], -1)


def staircase(level_x: Tensor, level_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row index, column index and mass of the n + m pieces between merged levels; pieces may be empty."""
    merged, _ = torch.cat([level_x, level_y], -1).sort(-1)
    i = torch.searchsorted(level_x.contiguous(), merged).clamp_(max=level_x.shape[-1] - 1)
    j = torch.searchsorted(level_y.contiguous(), merged).clamp_(max=level_y.shape[-1] - 1)
    mass = merged.diff(dim=-1, prepend=torch.zeros_like(merged[..., :1]))
    return i, j, mass

"""The definition: evaluate the cost of a shift on the merged levels, bisect its derivative; plain autograd."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monge._arrays import gap_power

from .._rows import RowProblem, levels

__all__ = ["circle_distance", "circle_shift", "linear_circle_distance", "mean_shift"]


class _Lift(NamedTuple):
    """Sorted positions and levels of one period."""

    position: Tensor
    level: Tensor


def circle_distance(problem: RowProblem, p: float) -> Tensor:
    """W_p^p of every row: the best shift, then a mixture of its two sides that leaves no derivative."""
    x, y = _lift(problem.x, problem.a), _lift(problem.y, problem.b)
    with torch.no_grad():
        shift = _search(x, y, p)
        value = _cost(x, y, shift, p)
        # Step off the kink, where rounding would decide between its two staircases.
        low, high = shift - 1e-9, shift + 1e-9
    # In the graph: the first derivative does not see how the share moves, the second one does.
    fall, rise = _by_shift(x, y, low, p), _by_shift(x, y, high, p)
    kink = rise > fall
    share = torch.where(kink, -fall / torch.where(kink, rise - fall, 1.0), 0.5).clamp(0, 1)[:, 0]
    mixed = (1 - share) * _cost(x, y, low, p) + share * _cost(x, y, high, p)
    return (value + mixed - mixed.detach()).to(problem.x.dtype)


def circle_shift(problem: RowProblem, p: float) -> Tensor:
    """The best shift of every row."""
    return _search(_lift(problem.x, problem.a), _lift(problem.y, problem.b), p)[:, 0]


def linear_circle_distance(problem: RowProblem, p: float) -> Tensor:
    """The cost of the shorter way round at the shift between the mean positions."""
    x, y = _lift(problem.x, problem.a), _lift(problem.y, problem.b)
    return _cost(x, y, mean_shift(problem), p, wrapped=True).to(problem.x.dtype)


def mean_shift(problem: RowProblem) -> Tensor:
    """By how much the means of the positions in [0, 1) differ, one number a row."""
    sides = zip(problem[:2], problem.shares, strict=True)
    x, y = ((points.double().remainder(1.0) * share).sum(-1, keepdim=True) for points, share in sides)
    return x - y


def _lift(x: Tensor, weights: Tensor | None) -> _Lift:
    position, order = x.double().remainder(1.0).sort(dim=-1, stable=True)
    return _Lift(position, levels(weights, order))


def _search(x: _Lift, y: _Lift, p: float) -> Tensor:
    """Bisection of the derivative."""
    low = x.position.new_full((len(x.position), 1), -1.5)
    high = -low
    for _ in range(60):
        middle = (low + high) / 2
        falling = _by_shift(x, y, middle, p) < 0
        low, high = torch.where(falling, middle, low), torch.where(falling, high, middle)
    better = (_cost(x, y, low, p) <= _cost(x, y, high, p))[:, None]
    return torch.where(better, low, high)


def _place(lift: _Lift, level: Tensor) -> Tensor:
    """The quantile function at levels of any turn."""
    turn = level.detach().ceil() - 1
    i = torch.searchsorted(lift.level.detach().contiguous(), level.detach() - turn)
    return lift.position.gather(-1, i.clamp_(max=lift.level.shape[-1] - 1)) + turn


def _cost(x: _Lift, y: _Lift, shift: Tensor, p: float, wrapped: bool = False) -> Tensor:
    cuts = (y.level - shift).remainder(1.0)
    merged, _ = torch.cat([x.level, cuts, torch.zeros_like(cuts[:, :1])], -1).sort(-1)
    mass, middle = merged.diff(dim=-1), (merged[:, 1:] + merged[:, :-1]) / 2
    gap = _place(x, middle) - _place(y, middle + shift)
    if wrapped:
        gap = gap - gap.detach().round()
    return (mass * gap_power(gap, p)).sum(-1)


def _by_shift(x: _Lift, y: _Lift, shift: Tensor, p: float) -> Tensor:
    """The right-hand derivative of the cost by the shift: each column hands over to the next one."""
    after = torch.cat([y.position[:, 1:], y.position[:, :1] + 1], -1)
    place = _place(x, y.level - shift)
    return (gap_power(place - after, p) - gap_power(place - y.position, p)).sum(-1, keepdim=True)

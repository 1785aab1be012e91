"""The definition: evaluate the cost of a shift on the merged levels, bisect its derivative; plain autograd."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monge._arrays import gap_power

from .._rows import RowProblem, levels

__all__ = ["circle_distance", "circle_shift", "linear_circle_distance", "mean_position"]


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
    shift = mean_position(problem.x, problem.a) - mean_position(problem.y, problem.b)
    return _cost(x, y, shift, p, wrapped=True).to(problem.x.dtype)


def mean_position(x: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of the positions in [0, 1), one per row."""
    turns = x.double().remainder(1.0)
    return turns.mean(-1, keepdim=True) if weights is None else (turns * weights).sum(-1, keepdim=True)


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


def _turns(y: _Lift) -> _Lift:
    """Enough turns of the lift for any shift in [-2, 2]."""
    turns = torch.arange(-3, 4, dtype=torch.float64, device=y.level.device)[:, None]

    def spread(one: Tensor) -> Tensor:
        return (one[:, None] + turns).flatten(1)

    return _Lift(spread(y.position), spread(y.level))


def _cost(x: _Lift, y: _Lift, shift: Tensor, p: float, wrapped: bool = False) -> Tensor:
    around = _turns(y)
    cuts = (y.level - shift).remainder(1.0)
    merged, _ = torch.cat([x.level, cuts, torch.zeros_like(cuts[:, :1])], -1).sort(-1)
    mass, middle = merged.diff(dim=-1), (merged[:, 1:] + merged[:, :-1]) / 2
    i = torch.searchsorted(x.level.detach().contiguous(), middle.detach()).clamp_(max=x.level.shape[-1] - 1)
    j = torch.searchsorted(around.level.detach().contiguous(), (middle + shift).detach())
    gap = x.position.gather(-1, i) - around.position.gather(-1, j)
    if wrapped:
        gap = gap - gap.detach().round()
    return (mass * gap_power(gap, p)).sum(-1)


def _by_shift(x: _Lift, y: _Lift, shift: Tensor, p: float) -> Tensor:
    """The right-hand derivative of the cost by the shift: each column hands over to the next one."""
    after = torch.cat([y.position[:, 1:], y.position[:, :1] + 1], -1)
    level = (y.level - shift).remainder(1.0)
    level = torch.where(level == 0, 1.0, level)
    i = torch.searchsorted(x.level.detach().contiguous(), level.detach()).clamp_(max=x.level.shape[-1] - 1)
    turn = (y.level - shift - level).detach().round()
    place = x.position.gather(-1, i) + turn
    return (gap_power(place - after, p) - gap_power(place - y.position, p)).sum(-1, keepdim=True)

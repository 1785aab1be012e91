"""The C++ twin: one walk along the staircase evaluates a shift, tangents find the best one."""

from __future__ import annotations

import torch
from torch import Tensor

from .._load import AVAILABLE, module
from .._operator import custom_op
from .._rows import Priced, RowProblem
from .reference import mean_position

__all__ = ["AVAILABLE", "circle_distance", "circle_shift", "linear_circle_distance"]


def circle_distance(problem: RowProblem, slopes: bool, potentials: bool, p: float) -> Priced:
    """W_p^p of every row, with its derivatives where asked."""
    x, y, a, b, _ = problem
    cost, _, _, dx, dy, f, g = _circle_distance(x, y, a, b, p, None, slopes, potentials)
    return Priced(cost, dx, dy, f, g)


def circle_shift(problem: RowProblem, p: float) -> Tensor:
    """The best shift of every row."""
    x, y, a, b, _ = problem
    return _circle_distance(x, y, a, b, p, None, slopes=False, potentials=False)[1][:, 0]


def linear_circle_distance(problem: RowProblem, slopes: bool, potentials: bool, p: float) -> Priced:
    """The same at the shift between the mean positions, through which both clouds also act."""
    x, y, a, b, _ = problem
    mean_x, mean_y = mean_position(x, a), mean_position(y, b)
    shift = mean_x - mean_y
    cost, _, slope, dx, dy, f, g = _circle_distance(x, y, a, b, p, shift, slopes, potentials)
    if slopes:
        dx += (slope * (1 / x.shape[-1] if a is None else a)).to(dx.dtype)
        dy -= (slope * (1 / y.shape[-1] if b is None else b)).to(dy.dtype)
    if potentials:
        f += slope * x.double().remainder(1.0)
        g -= slope * y.double().remainder(1.0)
    return Priced(cost, dx, dy, f, g)


@custom_op("circle_distance")
def _circle_distance(
    x: Tensor,
    y: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    p: float,
    shift: Tensor | None,
    slopes: bool,
    potentials: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    cost, theta, slope, dx, dy, f, g = _circle_outputs(x, y, a, b, p, shift, slopes, potentials)
    total = torch.empty_like(slope)
    module().circle_distance(
        *(None if held is None else held.detach().contiguous().numpy() for held in (x, y, a, b)),
        p,
        None if shift is None else shift.detach().contiguous().numpy(),
        total.numpy(),
        theta.numpy(),
        slope.numpy(),
        dx.numpy() if slopes else None,
        dy.numpy() if slopes else None,
        f.numpy() if potentials else None,
        g.numpy() if potentials else None,
        torch.get_num_threads(),
    )
    cost.copy_(total[:, 0])
    return cost, theta, slope, dx, dy, f, g


@_circle_distance.register_fake
def _circle_outputs(
    x: Tensor,
    y: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    p: float,
    shift: Tensor | None,
    slopes: bool,
    potentials: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows = x.shape[0]
    return (
        x.new_empty(rows),
        x.new_empty(rows, 1, dtype=torch.float64),
        x.new_empty(rows, 1, dtype=torch.float64),
        torch.empty_like(x, memory_format=torch.contiguous_format) if slopes else x.new_empty(0),
        torch.empty_like(y, memory_format=torch.contiguous_format) if slopes else y.new_empty(0),
        x.new_empty(rows, x.shape[1] if potentials else 0, dtype=torch.float64),
        x.new_empty(rows, y.shape[1] if potentials else 0, dtype=torch.float64),
    )

"""The C++ twin: one walk along the staircase evaluates a shift, tangents find the best one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._rows import ROWS, Priced, RowProblem, row_loop
from ..straight.native import derivatives_of
from .reference import mean_position

__all__ = ["circle_distance", "circle_shift", "linear_circle_distance"]


def circle_distance(problem: RowProblem, positions: bool, potentials: bool, p: float) -> Priced:
    """W_p^p of every row, with its derivatives where asked."""
    total, _, _, *found = _circle_distance(*problem[:4], p, None, positions, potentials)
    return Priced(total[:, 0].to(problem.x.dtype), *found)


def circle_shift(problem: RowProblem, p: float) -> Tensor:
    """The best shift of every row."""
    return _circle_distance(*problem[:4], p, None, False, False)[1][:, 0]


def linear_circle_distance(problem: RowProblem, positions: bool, potentials: bool, p: float) -> Priced:
    """The same at the shift between the mean positions, through which both clouds also act."""
    x, y, a, b, _ = problem
    shift = mean_position(x, a) - mean_position(y, b)
    total, _, by_shift, dx, dy, f, g = _circle_distance(x, y, a, b, p, shift, positions, potentials)
    if positions:
        dx += (by_shift * (1 / x.shape[-1] if a is None else a)).to(dx.dtype)
        dy -= (by_shift * (1 / y.shape[-1] if b is None else b)).to(dy.dtype)
    if potentials:
        f += by_shift * x.double().remainder(1.0)
        g -= by_shift * y.double().remainder(1.0)
    return Priced(total[:, 0].to(x.dtype), dx, dy, f, g)


def _allocate(x: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    costs = (x.new_empty(len(x), 1, dtype=torch.float64) for _ in range(3))
    return *costs, *derivatives_of(x, y, *rest[-2:])


# The cost, the shift and the derivative by it, then those by positions and weights.
_circle_distance = row_loop(
    f"circle_distance({ROWS}, float p, Tensor? shift, bool positions, bool potentials) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _allocate,
    given=6,
)

"""The C++ twin: one walk along the staircase evaluates a shift, tangents find the best one."""

from __future__ import annotations

from torch import Tensor

from .._rows import Priced, RowProblem, distance_loop
from .reference import mean_shift

__all__ = ["circle_distance", "circle_shift", "linear_circle_distance"]

# The cost, the shift and the derivative by it, then those by positions and weights.
_circle_distance = distance_loop("circle_distance", ", Tensor?[rows 1; float64] shift", numbers=3)


def circle_distance(problem: RowProblem, positions: bool, potentials: bool, p: float) -> Priced:
    """W_p^p of every row, with its derivatives where asked."""
    total, _, _, *found = _circle_distance(*problem[:4], p, None, positions, potentials)
    return Priced(total, *found)


def circle_shift(problem: RowProblem, p: float) -> Tensor:
    """The best shift of every row."""
    return _circle_distance(*problem[:4], p, None, False, False)[1][:, 0]


def linear_circle_distance(problem: RowProblem, positions: bool, potentials: bool, p: float) -> Priced:
    """The same at the shift between the mean positions, through which both clouds also act."""
    shift = mean_shift(problem)
    total, _, by_shift, dx, dy, f, g = _circle_distance(*problem[:4], p, shift, positions, potentials)
    share_x, share_y = problem.shares
    if positions:
        dx += (by_shift * share_x).to(dx.dtype)
        dy -= (by_shift * share_y).to(dy.dtype)
    if potentials:
        f += by_shift * problem.x.double().remainder(1.0)
        g -= by_shift * problem.y.double().remainder(1.0)
    return Priced(total, dx, dy, f, g)

"""The best pair (f + c, g - c): the direction along which plain iterations crawl if penalties are strong.

Source: Faster unbalanced optimal transport: translation invariant Sinkhorn, arXiv:2201.00730, for exponentials.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge.problem import Linear, Marginal
from monge.problem.at_most import AtMost
from monge.problem.fixed import Fixed
from monge.problem.marginal import column
from monge.problem.relaxed import Relaxed

__all__ = ["smoothly_translated", "translated"]


def translated(problem: Linear, log_a: Tensor, log_b: Tensor, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The pair with the largest dual value among all (f + c, g - c), where that c has a formula."""
    if problem.balanced or problem.partial:
        return f, g
    first, second = _kinks(problem.source), _kinks(problem.target)
    if first is None or second is None:
        return smoothly_translated(problem, log_a, log_b, f, g)
    shift = column(_piecewise(problem, f, g, first, second))
    return problem.source._project(f + shift), problem.target._project(g - shift)


def smoothly_translated(problem: Linear, log_a: Tensor, log_b: Tensor, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The same where both implied masses are exponentials of c or constant: one differentiable formula."""
    if problem.balanced:
        return f, g
    rows = _exponential_mass(problem.source, log_a, f)
    cols = _exponential_mass(problem.target, log_b, g)
    if rows is None or cols is None:
        return f, g
    shift = column((rows[0] - cols[0]) / (rows[1] + cols[1]))
    return f + shift, g - shift


def _exponential_mass(side: Marginal, log_a: Tensor, f: Tensor) -> tuple[Tensor, Tensor | float] | None:
    """The log of the mass that f implies, and minus its gradient under f + c, if that is a straight line in c."""
    if isinstance(side, Fixed):
        return torch.log(side.total), 0.0
    if isinstance(side, Relaxed) and side._price.exponential:
        return torch.logsumexp(log_a - f / column(side.rho), -1), 1.0 / side.rho
    return None


def _kinks(side: Marginal) -> tuple[Tensor | float, Tensor | float] | None:
    """Above the first number a potential gains nothing more, below the second it may not go; None if it is smooth."""
    if isinstance(side, Fixed):
        return math.inf, -math.inf
    if isinstance(side, AtMost):
        return 0.0, -math.inf
    if isinstance(side, Relaxed) and side._rates is not None:
        missing, excess = side._rates
        return column(missing), -column(excess)
    return None


def _piecewise(problem: Linear, f: Tensor, g: Tensor, first: tuple, second: tuple) -> Tensor:
    """The c at which the rows that still gain by it weigh no more than the columns that lose by it."""
    a, b = problem.a.expand_as(f), problem.b.expand_as(g)
    # Rows leave the sum at the first kind of break, columns enter it at the second: both lower the gradient.
    breaks = torch.cat([first[0] - f, g - second[0]], -1)
    weights = torch.cat([a, b], -1)
    breaks = torch.where(weights > 0, breaks, math.inf)
    breaks, order = breaks.sort(-1)
    gradient = a.sum(-1, keepdim=True) - weights.gather(-1, order).cumsum(-1)
    # Between the breaks where the gradient meets zero and where it leaves it every c is as good: the nearest to none.
    tiny = 4 * torch.finfo(f.dtype).eps * weights.sum(-1, keepdim=True)
    ends = torch.cat([breaks, torch.full_like(breaks[..., :1], math.inf)], -1)
    meets, leaves = ((s.sum(-1, keepdim=True)) for s in (gradient > tiny, gradient >= -tiny))
    shift = torch.zeros_like(a[..., 0]).clamp(ends.gather(-1, meets)[..., 0], ends.gather(-1, leaves)[..., 0])
    low = torch.where(a > 0, first[1] - f, -math.inf).amax(-1)
    high = torch.where(b > 0, g - second[1], math.inf).amin(-1)
    shift = torch.minimum(torch.maximum(shift, low), high)
    return torch.where(shift.isfinite(), shift, 0.0)

"""Partial transport in one dimension: every cardinality at once, or one penalty, mass or knee; many pairs at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import gap_power
from monge._transforms import transformable
from monge.errors import CapabilityError, InfeasibleError

from ... import _extension
from ...derivatives import envelope
from .._rows import RowProblem, row_problem
from . import native, reference
from ._form import Pieces, Profile

__all__ = ["Pieces", "Profile", "partial_cost", "partial_plan", "partial_profile"]

_TOLD = (
    "The cost of partial transport has no second derivative by points and by weights or level together: detach one of "
    "them, or use an entropic problem."
)


@transformable
def partial_profile(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    *,
    p: float = 2.0,
    period: float = 0.0,
    penalty: float = math.inf,
    most: int | None = None,
) -> Profile:
    r"""The cheapest matchings of $k = 1, 2, \ldots$ pairs of unit atoms, all in one go.

    Optimal supports are nested, and the cost is convex in k. Each step activates a source and a target that are
    neighbours among the inactive atoms; all between them are active and matched in order. A heap of these candidates
    gives the whole profile: $O(N \log N)$ for p = 1, where prefix sums price a block; for other orders a block is
    matched afresh, about $N^{3/2}$ in all on mixed data, a few N with an early stop. The profile carries no gradient.

    Args:
        x: Positions of the sources, in any order.
        y: Positions of the targets.
        p: Order, at least 1; on a circle 1.
        period: Length of the circle, or zero for the line.
        penalty: Stop before the first pair that raises the cost by twice this or more.
        most: Stop after so many pairs.

    Returns:
        Marginal costs in float64 and the atoms that join, padded by inf and -1.

    Source:
        Chapel, Tavenard, One for all and all for one: efficient computation of partial Wasserstein distances on the
        line (2025); Kolouri, PAWC, for the circle.

    Example:
        >>> import torch
        >>> partial_profile(torch.tensor([5.0, -2.0, 4.0]), torch.tensor([-1.0, 1.0, 3.0])).marginal.cumsum(-1)
        tensor([ 1.,  2., 14.], dtype=torch.float64)
    """
    problem = row_problem(x, y, None, None)
    if period > 0 and p != 1:
        raise CapabilityError(
            f"The profile on a circle can be computed for p=1 only, but p={p}: ask for one penalty or one mass, which "
            "a linear program finds for any p."
        )
    most = min(x.shape[-1], y.shape[-1], *(() if most is None else (most,)))
    host = _on_host(problem)
    found = (native if _extension.AVAILABLE else reference).partial_profile(host, float(p), period, 2 * penalty, most)
    return Profile(*(part.to(x.device).reshape((*problem.batch, *part.shape[1:])) for part in found))


@transformable
def partial_plan(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    *,
    rule: str,
    potentials: bool = False,
    level: Float[Tensor, "*#b"] | None = None,
    p: float = 2.0,
    period: float = 0.0,
) -> Pieces:
    r"""Optimal partial plans, and potentials where asked; exact, without gradient.

    Equal weights take the greedy of `partial_profile`. Other weights on the line take, for p = 1, a pass that keeps
    the cost of carrying a flow as two heaps of kinks, $O(N \log N)$ and moved by chords to a given mass; for other
    orders the greedy of infinitesimal atoms, whose steps last until a boundary of the plan meets the end of an atom.
    What is left, other weights or orders on a circle, is a linear program with n m numbers.

    Args:
        x: Positions of the sources.
        y: Positions of the targets.
        a: Non-negative masses, used as they are; None is one each. Zero is absence.
        b: The same for `y`.
        rule: ``"penalty"`` leaves mass at a price per unit on each side, so that a pair is worth less than twice that;
            ``"mass"`` moves so much; ``"knee"`` moves what costs less than the mean of all that could be moved.
        level: The penalty, or the mass.
        p: Order, at least 1.
        period: Length of the circle, or zero for the line.
        potentials: Whether to find them.

    Returns:
        `Pieces`, with the dimensions of the batch in front.

    Source:
        The pass follows Gouvine (arXiv 2311.17704).

    Example:
        >>> import torch
        >>> x, y = torch.tensor([0.0, 9.0]), torch.tensor([0.5])
        >>> partial_plan(x, y, rule="penalty", level=torch.tensor(1.0)).w.sum()
        tensor(1., dtype=torch.float64)
    """
    problem = row_problem(x, y, a, b, mass_one=False)
    found = _solve(problem, rule, _levels(level, problem), float(p), float(period), potentials)
    return Pieces(*(part.reshape((*problem.batch, part.shape[-1])) for part in found))


@transformable
def partial_cost(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    *,
    rule: str,
    level: Float[Tensor, "*#b"] | None = None,
    p: float = 2.0,
    period: float = 0.0,
) -> Float[Tensor, "*b"]:
    r"""The cost of partial transport for every pair of rows, differentiable almost everywhere.

    $$\min_{\gamma \ge 0,\; \gamma 1 \le a,\; \gamma^\top 1 \le b} \sum_{ij} |x_i - y_j|^p \gamma_{ij}
    + \lambda (|a| + |b| - 2 |\gamma|)$$
    for a penalty; the first term alone, with $|\gamma|$ given, for a mass or the knee. Positions act through the plan,
    the penalty through the mass left behind, the mass through its marginal cost, weights through the potentials.

    Args:
        x: Positions of the sources.
        y: Positions of the targets.
        a: Non-negative masses, used as they are; None is one each.
        b: The same for `y`.
        rule: See `partial_plan`.
        level: The penalty, or the mass.
        p: Order, at least 1.
        period: Length of the circle, or zero for the line.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([0.0, 1.0, 2.0, 7.0]), torch.tensor([0.4, 1.1, 9.0])
        >>> partial_cost(x, y, rule="penalty", level=torch.tensor(0.5), p=1.0)
        tensor(2.)
    """
    problem = row_problem(x, y, a, b, mass_one=False)
    level = _levels(level, problem)
    weighted = any(held is not None and held.requires_grad for held in (a, b))
    pieces = _solve(problem, rule, level, float(p), float(period), weighted)
    cost = _attached(problem, pieces, rule, level, float(p), period)
    return cost.to(x.dtype).reshape(problem.batch)


def _solve(problem: RowProblem, rule: str, level: Tensor, p: float, period: float, potentials: bool) -> Pieces:
    if rule == "mass":
        _check_mass(problem, level)
    host, level = _on_host(problem), level.detach().cpu()
    if _extension.AVAILABLE and (period == 0 or (p == 1 and _equal(host.a, host.b))):
        n, m = problem.x.shape[-1], problem.y.shape[-1]
        # Equal masses are matched one to one, but for a last pair that moves a part of them.
        unit = problem.a is None and problem.b is None
        width = min(n, m) * (2 if rule == "mass" else 1) if unit else n + m
        found = native.partial_plan(host, p, period, rule, level, width, potentials)
    else:
        found = reference.partial_plan(host, p, period, rule, level)
    return Pieces(*(part.to(problem.x.device) for part in found))


def _attached(problem: RowProblem, pieces: Pieces, rule: str, level: Tensor, p: float, period: float) -> Tensor:
    """The cost with its derivatives: by positions through the plan, by level and weights through their prices.

    The plan moves with weights and level, and prices move with positions: what is mixed is refused.
    """
    x, y, a, b = problem.x, problem.y, problem.a, problem.b

    def moved(constants: Sequence[Tensor], points: Sequence[Tensor]) -> Tensor:
        gap = points[0].double().gather(-1, pieces.i) - points[1].double().gather(-1, pieces.j)
        if period > 0:
            gap = gap - period * (gap.detach() / period).round()
        return (constants[0] * gap_power(gap, p)).sum(-1)

    def priced(constants: Sequence[Tensor], given: Sequence[Tensor]) -> Tensor:
        return (constants[0] * given[0]).sum(-1)

    cost = envelope(moved, (pieces.w,), (x, y), (a, b, level), _TOLD)
    f, g = pieces.f, pieces.g
    if rule == "penalty":
        left = _total(a, x) + _total(b, y) - 2 * pieces.w.sum(-1)
        cost = cost + envelope(priced, (left[:, None],), (level,), (a, b), _TOLD)
    else:
        f, g = f - pieces.level, g - pieces.level
        if rule == "mass" and level.requires_grad:
            cost = cost + _without_value(envelope(priced, (2 * pieces.level,), (level,), (x, y, a, b), _TOLD))
    for weights, potential in ((a, f), (b, g)):
        if weights is not None and weights.requires_grad:
            cost = cost + _without_value(envelope(priced, (potential,), (weights,), (x, y, level), _TOLD))
    return cost


def _without_value(term: Tensor) -> Tensor:
    """Zero, with the derivative of ``term``."""
    return term - term.detach()


def _total(weights: Tensor | None, points: Tensor) -> Tensor | float:
    return float(points.shape[-1]) if weights is None else weights.detach().sum(-1)


def _levels(level: Tensor | None, problem: RowProblem) -> Tensor:
    """The penalty or mass as a column, one row or as many as there are problems."""
    if level is None:
        return problem.x.new_zeros(1, 1, dtype=torch.float64)
    level = level.double()
    return level.reshape(1, 1) if level.numel() == 1 else level.expand(problem.batch).reshape(-1, 1)


def _on_host(problem: RowProblem) -> RowProblem:
    """The solvers are sequential: they run where the C++ does, on plain numbers."""
    return RowProblem._make((*(None if part is None else part.detach().cpu() for part in problem[:4]), problem.batch))


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether all masses are zero or one common number."""
    one = torch.ones(1, dtype=torch.float64)
    sides = [one if held is None else held[held > 0] for held in (a, b)]
    return len(torch.cat(sides).unique()) <= 1


def _check_mass(problem: RowProblem, level: Tensor) -> None:
    sides = {"a": (problem.a, problem.x), "b": (problem.b, problem.y)}
    for name, (weights, points) in sides.items():
        held = _total(weights, points)
        short = level.detach()[:, 0] > held * (1 + 1e-9)
        if bool(short.any()):
            most = float(torch.as_tensor(held).min())
            raise InfeasibleError(
                f"mass must be at most the mass of {name}, {most:g}, but is {float(level.max()):g}: ask for less, or "
                "give a penalty, which determines the mass."
            )

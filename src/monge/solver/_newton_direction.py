"""Newton's direction for the potential of the columns, from as little of the plan as it needs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge.dual import Ascent, Iteration, Operator, ScaledHessian, StreamedOperator
from monge.problem import Marginal
from monge.problem.marginal import column

# The plan may miss this share of the mass, times the error, and never more than the second number.
_MISSED, _MISSED_AT_MOST = 0.01, 1e-3
_STORED_ENTRIES = 2**22
# Plans smaller than this are stored whole: lists of entries would cost more than they save.
_FEW_ENTRIES = 2**16
# A column whose next image is farther than this, in units of epsilon, takes that image: a step that is linear in
# mass means nothing for a column that has a tenth of its mass, and where there is none at all it is noise.
_FAR = 2.0


class Step(NamedTuple):
    """A direction for the potential of the columns.

    Args:
        direction: The step.
        gradient: The gradient of the semi-dual, mass wanted less mass found, zero where a kink has none.
        sound: Whether most of the mass is near enough to its image for a linear step to mean something.
    """

    direction: Float[Tensor, "*b m"]
    gradient: Float[Tensor, "*b m"]
    sound: Bool[Tensor, "*b"]


def newton_direction(
    ascent: Ascent, iteration: Iteration, epsilon: Float[Tensor, "*b"], share: Float[Tensor, "*b"]
) -> Step:
    """The step d from g along which the gradient of the semi-dual vanishes to first order.

    The semi-dual is the dual with the best f for each g. Its gradient is mu(g) - c, the marginal that g implies less
    the one the plan has, and -epsilon times its Hessian is D - P^T R^-1 P with D = diag(c + epsilon kappa). Scaled by
    D^-1/2 on both sides its spectrum lies in [0, 1], so that columns of tiny mass are as well resolved as others.
    Columns that sit on a kink, that the next image would send there, or that are far from their mass, take that
    image; the others hear of it.

    Source: Accelerating Sinkhorn algorithm with sparse Newton iterations, arXiv:2401.12253; A truncated Newton method
    for optimal transport, arXiv:2504.02067.

    Args:
        ascent: The problem.
        iteration: Where the direction starts.
        epsilon: The epsilon of that iteration.
        share: The ridge that shortens the step, as a share of the error.
    """
    problem, eps = ascent.problem, column(epsilon)
    source, target = problem.source, problem.target
    plan = _plan(ascent, iteration, epsilon)
    if isinstance(plan, StreamedOperator) and problem.balanced:
        # Rows of f are exact, and the iteration has seen the columns: two passes less.
        r, c = problem.a.expand_as(iteration.f), iteration.marginal
    else:
        r, c = plan.rows(torch.ones_like(iteration.g)), plan.columns(torch.ones_like(iteration.f))

    level, _ = problem._split(iteration.f, iteration.g)
    kappa_f = source._curvature(iteration.f - column(level))
    # Where g itself sits on a kink, its one-sided gradient is that of the side it is about to move to.
    inside = torch.where(target._curvature(iteration.g).isfinite(), iteration.g, iteration.image)
    curved = target._curvature(iteration.image).isfinite() & target._curvature(inside).isfinite()
    away = iteration.image - iteration.g
    away = torch.where(away.isfinite(), away, 0.0)
    near = away.abs() <= _FAR * eps
    free = curved & near & (problem.b > 0) & (c > 0)
    wanted = target._mass_at(inside)
    gradient = torch.where(wanted.isfinite(), wanted - iteration.marginal, 0.0)

    mobile = kappa_f.isfinite() & (r > 0)
    system = ScaledHessian(
        plan,
        r,
        c,
        inverse=torch.where(mobile, 1.0 / (r + eps * torch.where(mobile, kappa_f, 0.0)), 0.0),
        scale=torch.where(free, (c + eps * torch.where(free, _steepest(target, inside), 0.0)).rsqrt(), 0.0),
        share=share,
        error=iteration.error.clamp(1e-12, 1.0),
        partial=problem.partial,
        gauge=problem.balanced,
    )
    pinned = torch.where(free, 0.0, away)
    right = torch.where(free, eps * gradient + system.heard(pinned), 0.0)
    if problem.balanced:
        # Rounding leaves the range of the Hessian, which is what sums to zero.
        share = torch.where(free, c, 0.0)
        right = right - share * column(right.sum(-1) / share.sum(-1).clamp(min=torch.finfo(c.dtype).tiny))
    found = system.solve(right)
    sound = torch.where(near, iteration.marginal, 0.0).sum(-1) > 0.5 * iteration.marginal.sum(-1)
    return Step(torch.where(free, found, pinned), gradient, sound)


def _steepest(side: Marginal, g: Tensor) -> Tensor:
    """The curvature on either side of a potential, the larger: some penalties end where there is no mass left."""
    before = side._curvature(torch.nextafter(g, torch.full_like(g, -math.inf)))
    return torch.maximum(side._curvature(g), torch.where(before.isfinite(), before, 0.0))


def _plan(ascent: Ascent, iteration: Iteration, epsilon: Tensor) -> Operator:
    """The plan of (f, g): its large entries if they are few, a stored copy if it is small, else streamed."""
    row = torch.where(ascent.log_a > -math.inf, ascent.log_a + iteration.f / column(epsilon), -math.inf)
    col = torch.where(ascent.log_b > -math.inf, ascent.log_b + iteration.g / column(epsilon), -math.inf)
    plan = StreamedOperator(ascent.problem.geometry, row, col, epsilon)
    n, m = ascent.problem.shape
    if n * m >= _FEW_ENTRIES:
        missed = (_MISSED * iteration.error).clamp(max=_MISSED_AT_MOST) * iteration.marginal.sum(-1)
        sparse = plan.sparse(missed / (n * m))
        if sparse is not None:
            return sparse
    return plan.dense() if plan.entries() <= _STORED_ENTRIES else plan

"""Newton's direction for the potential of the columns, from as little of the plan as it needs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge.gradient._plan import Plan, StreamedPlan
from monge.gradient._schur import Schur
from monge.problem.marginal import column

from ._ascent import Ascent, Sweep

__all__ = ["newton_direction"]

# The plan may miss this share of the mass, times the error, and never more than the second number.
_MISSED, _MISSED_AT_MOST = 0.01, 1e-3
# This ridge, times the error, makes the Hessian definite; as the error vanishes so does the ridge.
_RIDGE = 0.01
_ITERATIONS = 500
_STORED_ENTRIES = 2**22


def newton_direction(ascent: Ascent, sweep: Sweep, epsilon: Float[Tensor, "*b"]) -> Float[Tensor, "*b m"]:
    """The step d from g along which the gradient of the semi-dual vanishes to first order.

    The semi-dual is the dual with the best f for each g. Its gradient is mu(g) - c, the marginal that g implies less
    the one the plan has, and -epsilon times its Hessian is the Schur complement of the rows. Potentials that sit on a
    kink, or that the next update would send there, go to it.

    Source: Accelerating Sinkhorn algorithm with sparse Newton iterations, arXiv:2401.12253; A truncated Newton method
    for optimal transport, arXiv:2504.02067.
    """
    problem, eps = ascent.problem, column(epsilon)
    source, target = problem.source, problem.target
    error = sweep.error.clamp(max=1.0)
    plan = _plan(ascent, sweep, epsilon)
    r, c = plan.rows(torch.ones_like(sweep.g)), plan.columns(torch.ones_like(sweep.f))

    level, _ = problem._split(sweep.f, sweep.g)
    kappa_f = source._curvature(sweep.f - column(level))
    free_f = kappa_f.isfinite() & (r > 0)
    free_g = target._curvature(sweep.image).isfinite() & (c > 0)
    # Where g itself sits on a kink, its one-sided slope is that of the side it is about to move to.
    inside = torch.where(target._curvature(sweep.g).isfinite(), sweep.g, sweep.image)
    kappa_g = torch.where(free_g, target._curvature(inside), 0.0)
    pinned = torch.where(free_g, 0.0, sweep.image - sweep.g)
    schur = Schur(
        plan=plan,
        r=r,
        c=c,
        inverse=torch.where(free_f, 1.0 / (r + eps * torch.where(free_f, kappa_f, 0.0)), 0.0),
        diagonal=torch.where(free_g, c * (1 + _RIDGE * column(error)) + eps * kappa_g, 1.0),
        free=free_g,
        partial=problem.partial,
        gauge=False,
    )
    gradient = eps * (target._mass_at(inside) - sweep.marginal)
    if problem.balanced:
        # Rounding leaves the range of the Hessian, which is what sums to zero.
        gradient = gradient - c * column(gradient.sum(-1) / c.sum(-1))
    tol = error.sqrt().clamp(max=0.1)
    _, step, _ = schur.solve(-plan.rows(pinned), gradient, torch.zeros_like(epsilon), tol=tol, max_iter=_ITERATIONS)
    return torch.where(free_g, step, pinned)


def _plan(ascent: Ascent, sweep: Sweep, epsilon: Tensor) -> Plan:
    """The plan of (f, g): its large entries if they are few, a stored copy if it is small, else streamed."""
    row = ascent.log_a + sweep.f / column(epsilon)
    col = ascent.log_b + sweep.g / column(epsilon)
    plan = StreamedPlan(ascent.problem.geometry, row, col, epsilon)
    n, m = ascent.problem.shape
    if not epsilon.ndim:
        missed = min(_MISSED_AT_MOST, _MISSED * float(sweep.error)) * float(sweep.marginal.sum())
        sparse = plan.sparse(missed / (n * m))
        if sparse is not None:
            return sparse
    return plan.dense() if plan.entries() <= _STORED_ENTRIES else plan

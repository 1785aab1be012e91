"""How well a plan that is handed out meets its marginals, measured on that plan, and what may be said of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge.coupling import PotentialCoupling
from monge.problem import Linear, Marginal
from monge.problem.fixed import Fixed
from monge.problem.marginal import column, pairing

from ._working import unit
from .solution import Status


class PlanError(NamedTuple):
    """A measurement of a plan.

    Args:
        row, col: Its marginals.
        error: L1 distance of both from what is asked of them, relative to the mass asked.
        doubt: An estimate of the part of such a distance that rounding explains: entries are exponentials of
            potentials and costs over epsilon, of which each carries an error of one unit.
    """

    row: Float[Tensor, "*b n"]
    col: Float[Tensor, "*b m"]
    error: Float[Tensor, "*b"]
    doubt: Float[Tensor, "*b"]

    def judged(self, tol: float | None, ended: Bool[Tensor, "*b"]) -> tuple[Status, Float[Tensor, "*b"]]:
        """The status of the worst problem, and the errors to report.

        Args:
            tol: The error that was asked for; None if a number of iterations was.
            ended: Which problems ended before the budget did, at their tolerance or at the floor of rounding.
        """
        error, doubt = self.error, self.doubt
        if tol is None:
            return Status.FIXED, error
        known = error.isfinite() & doubt.isfinite()
        hidden = known & (doubt >= 1)
        met = known & ~hidden & (error <= tol) & (doubt <= 4 * tol)
        rounded = (known & ~hidden & ~met & ((error <= doubt.clamp(min=tol)) | ended)) | (~known & ended) | hidden
        reported = torch.where(hidden, torch.maximum(error, doubt.clamp(max=2.0)), error)
        reported = torch.where(rounded & known & ~hidden, torch.maximum(error, doubt / 4), reported)
        reported = torch.where(known, reported, math.inf)
        if not bool((met | rounded).all()):
            return Status.MAX_ITER, reported
        return (Status.PRECISION if bool(rounded.any()) else Status.CONVERGED), reported


def plan_error(problem: Linear, plan: PotentialCoupling) -> PlanError:
    """One pass for each marginal over the plan, in the arithmetic of the plan, summed in float64."""
    row = plan._matmul(plan.b.new_ones((*plan.b.shape, 1)))[..., 0].double()
    col = plan._transpose()._matmul(plan.a.new_ones((*plan.a.shape, 1)))[..., 0].double()
    f, g, u = plan.f.double(), plan.g.double(), unit(plan.f.dtype)
    alpha, beta = (column(part) for part in problem._split(plan.f, plan.g))
    asked_row = _asked(problem.source, row, plan.f - alpha)
    asked_col = _asked(problem.target, col, plan.g - beta)
    missed = (row - asked_row).abs().sum(-1) + (col - asked_col).abs().sum(-1)
    if problem.mass is not None:
        missed = missed + (row.sum(-1) - problem.mass).abs()
    mass = _asked_mass(problem, asked_row, asked_col)
    # Masses that underflow are none.
    mass = mass.clamp(min=(f.shape[-1] + g.shape[-1]) * torch.finfo(plan.f.dtype).tiny / u)
    epsilon = problem.epsilon.double()
    size = pairing(torch.maximum(row, asked_row), f.abs()) + pairing(torch.maximum(col, asked_col), g.abs())
    return PlanError(row, col, missed / mass, 4 * u * size / (epsilon * mass))


def _asked(side: Marginal, mu: Tensor, f: Tensor) -> Tensor:
    """The marginal nearest to mu among those that the potential implies; at a kink it implies an interval."""
    most = side._mass_at(f).double()
    least = side._mass_at(torch.nextafter(f, torch.full_like(f, math.inf))).double()
    present = side.weights > 0
    return torch.where(present, torch.minimum(torch.maximum(mu, least), most), 0.0)


def _asked_mass(problem: Linear, row: Tensor, col: Tensor) -> Tensor:
    if problem.mass is not None:
        return problem.mass.double().broadcast_to(problem.batch_shape)
    totals = [side.total.double() for side in (problem.source, problem.target) if isinstance(side, Fixed)]
    mass = totals[0] if totals else torch.maximum(row.sum(-1), col.sum(-1))
    return mass.broadcast_to(problem.batch_shape)

"""From an exact plan and its potentials to a solution: what the exact solvers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from monge._parts import parts_of
from monge.kernels.twice import envelope, held
from monge.problem.marginal import Constraint, pairing

from .solution import DualSolution, Report, Status

if TYPE_CHECKING:
    from monge.coupling import Coupling
    from monge.problem import Linear

__all__ = ["conclude_exact", "in_double"]

_TOLD = (
    "The value of an exact problem has no second derivative by points and weights together: detach one of them, or "
    "give epsilon a positive value."
)
_PLAN_TOLD = (
    "An exact plan is not differentiated by weights, prices or masses: take its value, detach them, or give epsilon a "
    "positive value."
)
_POTENTIALS_TOLD = (
    "The potentials of an exact problem carry no derivative: detach them, differentiate the value, or give epsilon a "
    "positive value."
)
# A gap below this share of the numbers it is the difference of is rounding, not doubt.
_ROUNDING = 1e-9


def in_double(problem: Linear) -> Linear:
    """The same problem as constants in float64, in which exact solvers compute whatever the input dtype."""
    return problem.detach().to(torch.float64)


def conclude_exact(
    problem: Linear,
    exact: Linear,
    plan: Coupling,
    f: Float[Tensor, "*b n"],
    g: Float[Tensor, "*b m"],
    *,
    feasible: bool = False,
) -> DualSolution:
    """The solution of a linear program, proved by its duality gap, which is measured in float64.

    The value enters the graph of autograd by the envelope theorem: it moves with the cost through the plan, and with
    weights, prices and mass through the potentials. Whoever differentiates the potentials is refused.

    Args:
        problem: What was solved, in its own dtype.
        exact: The same in float64.
        plan: The optimal plan in float64.
        f: Potential of the rows in float64.
        g: Potential of the columns in float64.
        feasible: Whether f_i + g_j <= C_ij is known, so that no pass over all pairs has to show it.
    """
    constant, batch, dtype = plan.detach(), problem.batch_shape, problem.a.dtype
    with torch.no_grad():
        f, g = exact._settled(f, g)  # a price met to the last digit may be passed by rounding
        f, g = exact._normalised(f, g)
        row, col = constant.marginals()
        cost = constant.transport_cost(exact.geometry)
        priced = exact._priced(cost, row, col, f, g)
        gap = priced - (exact._conjugates(f, g) if feasible else exact.dual(f, g))
        scale = cost.abs() + pairing(exact.a, f.abs()) + pairing(exact.b, g.abs())
        proven = bool((gap <= _ROUNDING * scale).all())
    f, g = f.to(dtype), g.to(dtype)
    report = Report._make(
        status=Status.OPTIMAL if proven else Status.PRECISION,
        marginal_error=_violation(exact, row, col).to(dtype).expand(batch),
        duality_gap=gap.clamp_min(0).to(dtype).expand(batch),
        iterations=torch.zeros(batch, dtype=torch.long, device=f.device),
        epsilon=problem.epsilon.detach().expand(batch),
    )
    sources = parts_of(problem).tensors if torch.is_grad_enabled() else []
    if not any(t.requires_grad for t in sources):
        return DualSolution._make(coupling=plan.to(dtype), value=priced.to(dtype), report=report, f=f, g=g)
    value = _attached(problem, constant, f, g, priced.to(dtype))
    if not any(t.requires_grad for t in plan._tensors()):
        weights = parts_of((problem.source, problem.target, problem.mass)).tensors
        plan = plan._map(lambda t: held(t, weights, _PLAN_TOLD) if t.is_floating_point() else t)
    f, g = (held(side, sources, _POTENTIALS_TOLD) for side in (f, g))
    return DualSolution._make(coupling=plan.to(dtype), value=value, report=report, f=f, g=g)


def _violation(problem: Linear, row: Tensor, col: Tensor) -> Tensor:
    """The mass by which constraints are broken, relative to the mass moved."""
    broken = torch.zeros_like(row[..., 0])
    for marginal, mu in ((problem.source, row), (problem.target, col)):
        if isinstance(marginal, Constraint):
            broken = broken + marginal._violation(mu)
    if problem.mass is not None:
        broken = broken + (row.sum(-1) - problem.mass).abs()
    return broken / row.sum(-1).clamp_min(torch.finfo(row.dtype).tiny)


def _attached(problem: Linear, plan: Coupling, f: Tensor, g: Tensor, number: Tensor) -> Tensor:
    """The number, with the derivatives that the envelope theorem gives it."""
    costs, sides, pieces = parts_of(problem.geometry), parts_of(problem), parts_of(plan.to(f.dtype))
    weights = parts_of((problem.source, problem.target, problem.mass)).tensors
    moved = envelope(
        lambda constants, tensors: costs.within(tensors, pieces.build(constants).transport_cost),
        pieces.tensors,
        costs.tensors,
        weights,
        _TOLD,
    )
    terms = envelope(
        lambda constants, tensors: sides.within(
            [*costs.tensors, *tensors], lambda problem: problem._conjugates(*constants)
        ),
        (f, g),
        sides.tensors[len(costs.tensors) :],
        costs.tensors,
        _TOLD,
    )
    return number + (moved - moved.detach() + terms - terms.detach()).to(number.dtype)

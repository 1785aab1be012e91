"""From potentials to a solution: the plan, its value in the graph of autograd, and measurements of both."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from monge._parts import parts_of
from monge.coupling import PotentialCoupling
from monge.errors import PrecisionWarning
from monge.gradient import Gradient
from monge.problem import Linear
from monge.problem.marginal import pairing

from ._loop import Iterate
from ._plan_error import PlanError, plan_error
from .solution import DualSolution, Report, Status


def entropic_solution(
    problem: Linear,
    end: Iterate,
    *,
    gradient: Gradient,
    tol: float | None,
    dtype: torch.dtype,
    warned: bool = False,
) -> DualSolution:
    """The solution at a pair of potentials, of any precision.

    Args:
        problem: What was solved, in the dtype of the potentials that are handed out.
        end: The potentials, the iterations spent, and which problems ended before the budget did.
        gradient: How the answer depends on the problem.
        tol: The marginal error that was asked for; None if a number of iterations was.
        dtype: The dtype of the costs that the plan keeps.
        warned: Whether rounding has been warned of.
    """
    f, g = (part.to(problem.a.dtype) for part in problem._normalised(end.f, end.g))
    seen, f, g = gradient._attach(problem, f, g)
    told = seen._replace(geometry=seen.geometry.to(dtype))
    plan = PotentialCoupling._make(
        geometry=told.geometry, f=f, g=g, a=seen.a, b=seen.b, epsilon=seen.epsilon, link="exp"
    )
    with torch.no_grad():
        measured = plan_error(problem.detach(), plan.detach())
        dual, gap = _values(problem, measured, f, g)
        status, error = measured.judged(tol, end.settled)
        if status is Status.PRECISION and not warned and tol is not None:
            warnings.warn(
                f"epsilon is too small for the dtype: the marginal error stopped at {float(error.max()):.1e}, "
                f"above what tol={tol:.1e} asks for; use float64, or a larger epsilon or tol.",
                PrecisionWarning,
                stacklevel=4,
            )
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in parts_of(problem).tensors)
    report = Report._make(
        status=status,
        marginal_error=error.to(f.dtype),
        duality_gap=gap.to(f.dtype),
        iterations=end.iterations,
        epsilon=problem.epsilon.detach().broadcast_to(problem.batch_shape),
    )
    value = gradient._value(problem, f, g) if differentiable else dual.to(f.dtype)
    return DualSolution._make(coupling=plan, value=value, report=report, problem=told, f=f, g=g)


def _values(problem: Linear, plan: PlanError, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The dual value of (f, g), and the gap to the primal value of their plan, whose marginals are known.

    The log-density of the plan is (f + g - C) / epsilon, so that <C, P> + epsilon KL needs no further pass.
    """
    exact = problem.detach().to(torch.float64)
    f, g = f.double(), g.double()
    mass = plan.row.sum(-1)
    entropy = exact.epsilon * (mass - exact.source.total * exact.target.total)
    dual = exact._conjugates(f, g) - entropy
    cost = pairing(plan.row, f) + pairing(plan.col, g) - entropy
    return dual, exact._priced(cost, plan.row, plan.col, f, g) - dual

"""From potentials to a solution: the plan, its value in the graph of autograd, and measurements of both."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._parts import parts_of
from monge.coupling import PotentialCoupling
from monge.errors import PrecisionWarning
from monge.problem.marginal import column, log_weights, pairing

from ._iterate import resolvable
from .solution import DualSolution, Report, Status

if TYPE_CHECKING:
    from monge.gradient import Gradient
    from monge.problem import Linear

__all__ = ["conclude"]


class _Measured(NamedTuple):
    dual: Float[Tensor, "*b"]
    gap: Float[Tensor, "*b"]
    error: Float[Tensor, "*b"]


def conclude(
    problem: Linear,
    f: Float[Tensor, "*b n"],
    g: Float[Tensor, "*b m"],
    *,
    gradient: Gradient,
    iterations: Int[Tensor, "*b"],
    tol: float | None,
) -> DualSolution:
    """The solution at a pair of potentials.

    Args:
        problem: What was solved.
        f: Potential of the rows.
        g: Potential of the columns.
        gradient: How the answer depends on the problem.
        iterations: Iterations spent.
        tol: The marginal error that was asked for; None if a number of iterations was.
    """
    seen, f, g = gradient._attach(problem, f, g)
    with torch.no_grad():
        measured = _measure(problem, f, g)
        floor = resolvable(f, g, problem.epsilon)
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in parts_of(problem).tensors)
    value = gradient._value(problem, f, g) if differentiable else measured.dual
    report = Report._make(
        status=_status(measured.error, floor, tol),
        marginal_error=measured.error,
        duality_gap=measured.gap,
        iterations=iterations,
        epsilon=problem.epsilon.detach().broadcast_to(problem.batch_shape),
    )
    plan = PotentialCoupling._make(
        geometry=seen.geometry, f=f, g=g, a=seen.a, b=seen.b, epsilon=seen.epsilon, link="exp"
    )
    return DualSolution._make(coupling=plan, value=value, report=report, f=f, g=g)


def _measure(problem: Linear, f: Tensor, g: Tensor) -> _Measured:
    """Dual value, duality gap and marginal error of the plan of (f, g), in two passes over the cost."""
    epsilon, eps = problem.epsilon, column(problem.epsilon)
    q, p = problem._row_transform(g), problem._col_transform(f)
    log_a, log_b = log_weights(problem.a), log_weights(problem.b)
    row, col = torch.exp(log_a + (f - q) / eps), torch.exp(log_b + (g - p) / eps)
    mass = row.sum(-1)
    entropy = epsilon * (mass - problem.source.total * problem.target.total)
    dual = problem._conjugates(f, g) - entropy
    # The plan's log-density is (f + g - C) / epsilon, so <C, P> + epsilon KL needs no further pass.
    cost = pairing(row, f) + pairing(col, g) - entropy
    # Each marginal against the one it would have after one more exact update of its side.
    alpha, beta = (column(part) for part in problem._split(f, g))
    f_best = problem.source._update(q - alpha, epsilon) + alpha
    g_best = problem.target._update(p - beta, epsilon) + beta
    row_best, col_best = torch.exp(log_a + (f_best - q) / eps), torch.exp(log_b + (g_best - p) / eps)
    error = (row - row_best).abs().sum(-1) + (col - col_best).abs().sum(-1)
    if problem.mass is not None:
        error = error + (mass - problem.mass).abs()
    return _Measured(dual, problem._priced(cost, row, col, f, g) - dual, error / mass)


def _status(error: Tensor, floor: Tensor, tol: float | None) -> Status:
    """The worst of the batch; warns if rounding stopped a problem."""
    if tol is None:
        return Status.FIXED
    missed = ~(error <= tol)
    if not bool(missed.any()):
        return Status.CONVERGED
    # Sums of many rounded terms exceed the estimate of one by a small factor.
    if bool((missed & ~(error <= 8 * floor)).any()):
        return Status.MAX_ITER
    worst = int((error / tol).argmax())
    warnings.warn(
        "epsilon is below what the dtype resolves: the marginal error stopped at "
        f"{float(error.reshape(-1)[worst]):.1e}, above tol={tol:.1e}; use float64, or a larger epsilon or tol.",
        PrecisionWarning,
        stacklevel=4,
    )
    return Status.PRECISION

"""A measure against itself: one potential instead of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from monge._arrays import working_dtype
from monge.problem.marginal import column, log_weights

from ._ascent import Ascent
from ._entropic_solution import entropic_solution
from ._loop import Goal
from ._working import Accuracy, default_tol, widened

if TYPE_CHECKING:
    from monge.gradient import Gradient
    from monge.problem import Linear

    from .solution import DualSolution

__all__ = ["is_entropic", "solve_symmetric"]


def solve_symmetric(problem: Linear, *, gradient: Gradient, tol: float | None, max_iter: int) -> DualSolution | None:
    """The solution of an entropic problem whose cost and marginals do not change when rows and columns are exchanged.

    Its potentials are equal, f = U(T(f)). Near the solution that map has slopes in [-1, 0] wherever exp(-C / epsilon)
    is positive definite, as it is for powers up to two of the Euclidean distance: the mean of f and U(T(f)) then
    contracts by two or better, whatever epsilon.

    Args:
        problem: A symmetric problem; that it is one is not checked.
        gradient: How the answer is differentiated.
        tol: L1 marginal error relative to mass; None is 1e-9 in float64 and 1e-4 in lower precision.
        max_iter: Limit of the number of sweeps.

    Returns:
        The solution, or None if it was not reached: the cost may not be one of the above.

    Source: Feydy et al., Interpolating between optimal transport and MMD using Sinkhorn divergences (arXiv 1810.08278).
    """
    dtype = working_dtype(problem.geometry.dtype)
    if tol is None:
        tol = default_tol(problem.geometry.dtype, newton=True)
    wide = widened(problem, dtype)
    constant = wide.detach()
    with torch.no_grad():
        batch, epsilon = constant.batch_shape, column(constant.epsilon)
        ascent, accuracy = Ascent(constant), Accuracy(constant, tol, dtype)
        # Rows and columns err alike, so that both together would just meet the tolerance at half of it.
        goal = Goal(accuracy.goal / 4, accuracy.floor(dtype))
        warned = accuracy.foretell()
        log_a = log_weights(constant.a)
        f = constant.a.new_zeros(*batch, constant.shape[0])
        spent = torch.full(batch, max_iter, dtype=torch.long, device=f.device)
        ended = torch.zeros_like(spent, dtype=torch.bool)
        for k in range(1, max_iter + 1):
            q = constant._row_transform(f)
            update = constant.source._update(q, constant.epsilon)
            found, asked = torch.exp(log_a + (f - q) / epsilon), constant.source._mass_at(f)
            error = (found - asked).abs().sum(-1) / asked.sum(-1)
            done = goal.met(error, ascent.rounding(f, f, constant.epsilon), torch.ones_like(ended))
            spent = torch.where(done & ~ended, k, spent)
            ended = ended | done
            if bool(ended.all()):
                break
            # A problem that is done stays as it is: its answer must not depend on its neighbours.
            f = torch.where(column(ended), f, (f + update) / 2)
        else:
            return None
    return entropic_solution(
        wide,
        f,
        f.clone(),
        gradient=gradient,
        iterations=spent,
        ended=ended,
        tol=tol,
        dtype=problem.geometry.dtype,
        warned=warned,
    )


def is_entropic(solver: object) -> bool:
    """Whether a solver has the settings that `solve_symmetric` needs, and does not record its iterations."""
    gradient = getattr(solver, "gradient", None)
    return gradient is not None and not gradient._recorded and hasattr(solver, "tol")

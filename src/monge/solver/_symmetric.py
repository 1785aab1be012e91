"""A measure against itself: one potential instead of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from monge.problem.marginal import column

from ._conclude import conclude
from ._iterate import resolvable
from .sinkhorn import default_tol

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
    constant = problem.detach()
    if tol is None:
        tol = 1e-9 if problem.a.dtype == torch.float64 else default_tol(problem.a.dtype)
    with torch.no_grad():
        batch, epsilon = constant.batch_shape, column(constant.epsilon)
        weights = constant.a / column(constant.source.total)
        f = constant.a.new_zeros(*batch, constant.shape[0])
        spent = torch.full(batch, max_iter, dtype=torch.long, device=f.device)
        for k in range(1, max_iter + 1):
            update = constant.source._update(constant._row_transform(f), constant.epsilon)
            ratio = torch.where(weights > 0, (f - update) / epsilon, 0.0)
            error = (weights * torch.expm1(ratio).abs()).sum(-1)
            # Rows and columns err alike, so that both together would just meet the tolerance at half of it.
            open_ = error > resolvable(f, f, constant.epsilon).clamp(min=tol / 4)
            spent = torch.where(open_, spent, torch.minimum(spent, torch.full_like(spent, k)))
            if not bool(open_.any()):
                break
            # A problem that is done stays as it is: its answer must not depend on its neighbours.
            f = torch.where(column(open_), (f + update) / 2, f)
        else:
            return None
    if not bool(error.isfinite().all()):
        return None
    return conclude(problem, f, f.clone(), gradient=gradient, iterations=spent, tol=tol)


def is_entropic(solver: object) -> bool:
    """Whether a solver has the settings that `solve_symmetric` needs, and does not record its iterations."""
    gradient = getattr(solver, "gradient", None)
    return gradient is not None and not gradient._recorded and hasattr(solver, "tol")

"""From an exact plan and its potentials to a solution, with the value in the graph of autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from monge.problem.marginal import Constraint

from .solution import DualSolution, Report, Status

if TYPE_CHECKING:
    from monge.coupling import Coupling
    from monge.problem import Linear

__all__ = ["conclude_exact"]


def conclude_exact(
    problem: Linear,
    coupling: Coupling,
    f: Float[Tensor, "*b n"],
    g: Float[Tensor, "*b m"],
    *,
    iterations: int = 0,
) -> DualSolution:
    """The solution of a linear program, proved by its duality gap.

    Plan and potentials are locally constant. The value moves with the cost through the plan and with weights, prices
    and mass through the potentials, which is the envelope theorem.
    """
    batch = problem.batch_shape
    constant = problem.detach()
    with torch.no_grad():
        f, g = constant._settled(f, g)  # a price met to the last digit may be passed by rounding
        dual = constant.dual(f, g)
        row, col = coupling.marginals()
        priced = constant._priced(coupling.transport_cost(constant.geometry), row, col, f, g)
        error = _violation(constant, row, col)
    cost = coupling.transport_cost(problem.geometry)
    terms = problem._conjugates(f, g)
    value = cost + (terms - terms.detach()) + (priced - cost.detach())
    report = Report._make(
        status=Status.OPTIMAL,
        marginal_error=error.expand(batch),
        duality_gap=(priced - dual).clamp_min(0).expand(batch),
        iterations=torch.full(batch, iterations, dtype=torch.long, device=f.device),
        epsilon=problem.epsilon.detach().expand(batch),
    )
    return DualSolution._make(coupling=coupling, value=value, report=report, f=f, g=g)


def _violation(problem: Linear, row: Tensor, col: Tensor) -> Tensor:
    """The mass by which constraints are broken, relative to the mass moved."""
    broken = row.new_zeros(())
    for marginal, mu in ((problem.source, row), (problem.target, col)):
        if isinstance(marginal, Constraint):
            broken = broken + marginal._violation(mu)
    return broken / row.sum(-1).clamp_min(torch.finfo(row.dtype).tiny)

"""The one verb."""

from __future__ import annotations

from typing import Any

from monge._transforms import transformable
from monge.errors import CapabilityError, InputError, NotConvergedError
from monge.problem import Linear

from .auto import Auto
from .base import Solver
from .solution import Solution

__all__ = ["check_problem", "solve"]


@transformable
def solve(problem: Linear, solver: Solver | None = None) -> Solution:
    """Solve a transport problem.

    Args:
        problem: What is asked.
        solver: How; None lets `Auto` choose the cheapest that can, which `explain` shows.

    Returns:
        The plan, the value, and a report that measures them; a `DualSolution` where the solver has potentials.

    Raises:
        CapabilityError: If the solver cannot treat the problem; the message names one that can.
        InfeasibleError: If no plan satisfies the constraints.
        NotConvergedError: If a solver with ``strict=True`` misses its tolerance; the error carries the solution.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.geometry import PointCloud
        >>> from monge.problem import Linear
        >>> x = torch.tensor([[0.0], [1.0]]); y = torch.tensor([[3.0], [2.0]])
        >>> solve(Linear(PointCloud(x, y))).value
        tensor(4.)
    """
    check_problem(problem)
    if solver is None:
        solver = Auto()
    elif not isinstance(solver, Solver):
        raise InputError(
            f"solver must be a solver such as Sinkhorn(), but is {getattr(solver, '__name__', type(solver).__name__)}"
            f"{': did you forget the parentheses?' if isinstance(solver, type) else ': see monge.solver.'}"
        )
    capability = solver.supports(problem)
    if not capability.supported:
        chosen = None if isinstance(solver, Auto) else Auto().explain(problem).chosen
        raise CapabilityError(f"{capability.reason}{f' {chosen} can.' if chosen is not None else ''}")
    solution = solver._solve(problem)
    if getattr(solver, "strict", False) and not solution.report.status.ok:
        worst = float(solution.report.marginal_error.max())
        raise NotConvergedError(f"{solution.report.status.value} The marginal error is {worst:.2e}.", solution)
    return solution


def check_problem(problem: Any) -> None:
    """``problem`` must be a problem."""
    if not isinstance(problem, Linear):
        raise InputError(
            f"problem must be a problem such as Linear(geometry, a, b), but is {type(problem).__name__}: "
            "to couple point clouds directly use monge.couple(x, y)."
        )

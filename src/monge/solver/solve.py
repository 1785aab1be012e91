"""The one verb."""

from __future__ import annotations

from typing import Any

from monge._transforms import transformable
from monge.errors import CapabilityError, InputError
from monge.problem import Problem

from .auto import Auto
from .base import Solver
from .solution import Solution

__all__ = ["check_problem", "solution_of", "solve"]


@transformable
def solve(problem: Problem, solver: Solver | None = None) -> Solution:
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
    return solution_of(problem, solver)


def solution_of(problem: Problem, solver: Solver | None) -> Solution:
    """What `solve` answers, for functions that are nodes of every transform themselves."""
    check_problem(problem)
    if solver is None:
        solver = Auto()
    elif not isinstance(solver, Solver):
        raise InputError(
            f"solver must be a solver such as Sinkhorn(), but is {getattr(solver, '__name__', type(solver).__name__)}"
            f"{': did you forget the parentheses?' if isinstance(solver, type) else ': see monge.solver.'}"
        )
    try:
        chosen = solver.resolve(problem)
    except CapabilityError as error:
        other = None if isinstance(solver, Auto) else Auto().explain(problem).chosen
        raise CapabilityError(f"{error}{f' {other} can.' if other is not None else ''}") from None
    solution = chosen._answer(problem)
    return solution._replace(coupling=solution.coupling._priced(problem._remembered()))


def check_problem(problem: Any) -> None:
    """``problem`` must be a problem."""
    if not isinstance(problem, Problem):
        raise InputError(
            f"problem must be a problem such as Linear(geometry, a, b), but is {type(problem).__name__}: "
            "to couple point clouds directly use monge.couple(x, y)."
        )

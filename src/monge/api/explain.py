"""Which solver a problem would get, and why."""

from __future__ import annotations

from monge._transforms import transformable
from monge.problem import Linear
from monge.solver import Auto, Explanation, candidates, check_problem

__all__ = ["explain"]


@transformable(constant=True)
def explain(problem: Linear) -> Explanation:
    """Which solver `Auto` would choose for a problem, and why, as a table.

    Approximate solvers are in the table too, but `Auto` never chooses them: you get an inexact plan only if you ask for
    one.

    Args:
        problem: The problem.

    Returns:
        One row for each solver, the cheapest first; ``str`` makes a table of it, and ``chosen`` is the solver chosen.

    Raises:
        InputError: If it is no problem.

    Example:
        >>> import torch
        >>> from monge import explain
        >>> from monge.geometry import Line
        >>> from monge.problem import Linear
        >>> explain(Linear(Line(torch.rand(5), torch.rand(5)))).chosen
        Sorted()
    """
    from monge.sliced import Sliced  # a room that is opened when somebody first asks for it

    check_problem(problem)
    return Auto(candidates=(*candidates(), Sliced())).explain(problem)

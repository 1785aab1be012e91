"""Which solver a problem would get, and why."""

from __future__ import annotations

from monge._transforms import transformable
from monge.problem import Linear
from monge.solver import Auto, Explanation, candidates, check_problem

__all__ = ["explain"]


@transformable(constant=True)
def explain(problem: Linear) -> Explanation:
    """Which solver a problem would get, and why: the table behind `Auto`.

    Approximate solvers stand in the table too, but abstain: an inexact plan is for those who ask for it.

    Args:
        problem: What is asked.

    Returns:
        Rows of solvers and capabilities, the cheapest first; ``str`` of it is a table, ``chosen`` the winner.

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

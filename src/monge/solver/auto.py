"""The router: every solver says what a problem would cost it, and the cheapest one solves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monge._value import value
from monge.errors import CapabilityError
from monge.problem import Linear

from .base import Capability, Solver
from .candidates import CANDIDATES
from .explanation import Explanation, Row

if TYPE_CHECKING:
    from .solution import Solution

__all__ = ["Auto"]


@value
class Auto(Solver):
    """Takes the supported solver with the smallest estimated cost; `explain` shows the estimates.

    Every candidate counts the elementary operations it expects, from the numbers of points, the batch, and epsilon as
    a share of the mean cost, and the bytes it would allocate. Nothing is tried or timed, so that equal problems always
    meet the same solver.

    Args:
        candidates: The solvers to choose from, with their settings. The earlier of two equals wins.

    Example:
        >>> import torch
        >>> from monge.geometry import Line
        >>> from monge.problem import Linear
        >>> from monge.solver import Auto
        >>> Auto().explain(Linear(Line(torch.rand(5), torch.rand(5)))).chosen
        Sorted()
    """

    candidates: tuple[Solver, ...] = CANDIDATES

    def supports(self, problem: Linear) -> Capability:
        """Whatever the cheapest candidate supports."""
        explanation = self.explain(problem)
        if explanation.chosen is not None:
            return explanation.rows[0].capability
        return Capability.no(explanation.refusal)

    def explain(self, problem: Linear) -> Explanation:
        """All candidates, the cheapest first."""
        rows = (Row(solver, solver.supports(problem)) for solver in self.candidates)
        return Explanation(tuple(sorted(rows, key=lambda row: (row.capability.cost, not row.capability.supported))))

    def _solve(self, problem: Linear) -> Solution:
        explanation = self.explain(problem)
        if explanation.chosen is None:
            raise CapabilityError(explanation.refusal)
        return explanation.chosen._answer(problem)

    def __repr__(self) -> str:
        """Short, where the candidates are the usual ones."""
        return "Auto()" if self.candidates is CANDIDATES else f"Auto(candidates={self.candidates!r})"

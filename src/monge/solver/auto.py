"""The router: every solver says what a problem would cost it, and the cheapest one solves it."""

from __future__ import annotations

from dataclasses import dataclass

from monge._value import value
from monge.errors import CapabilityError
from monge.problem import Linear

from .base import Capability, Solver
from .simplex import Simplex
from .sinkhorn import Sinkhorn
from .solution import Solution
from .sorted import Sorted

__all__ = ["CANDIDATES", "Auto", "Explanation", "explain"]

# What the router chooses from. A room that brings a solver of its own appends it here.
CANDIDATES: list[Solver] = [Sorted(), Simplex(), Sinkhorn()]


@dataclass(frozen=True)
class Row:
    """One line of an explanation."""

    solver: Solver
    capability: Capability


@dataclass(frozen=True)
class Explanation:
    """Which solvers can treat a problem, the cheapest first; printing it gives a table.

    Args:
        rows: Solvers with their capabilities, the chosen one first.
    """

    rows: tuple[Row, ...]

    @property
    def chosen(self) -> Solver | None:
        """The solver that `Auto` takes, if any can."""
        return self.rows[0].solver if self.rows and self.rows[0].capability.supported else None

    def __str__(self) -> str:
        """A table: solver, estimated operations, why."""
        lines = [f"{'solver':<12}{'operations':>12}  why"]
        for row in self.rows:
            cost = f"{row.capability.cost:.1e}" if row.capability.supported else "cannot"
            lines.append(f"{type(row.solver).__name__:<12}{cost:>12}  {row.capability.reason}")
        return "\n".join(lines)


@value
class Auto(Solver):
    """Takes the supported solver with the smallest estimated cost; `explain` shows the estimates.

    Example:
        >>> import torch
        >>> from monge.geometry import Line
        >>> from monge.problem import Linear
        >>> from monge.solver import Auto
        >>> Auto().explain(Linear(Line(torch.rand(5), torch.rand(5)))).chosen
        Sorted()
    """

    def supports(self, problem: Linear) -> Capability:
        """Whatever the cheapest candidate supports."""
        first = self.explain(problem).rows[0]
        if first.capability.supported:
            return first.capability
        reasons = " ".join(row.capability.reason for row in self.explain(problem).rows)
        return Capability.no(reasons)

    def explain(self, problem: Linear) -> Explanation:
        """All candidates, ranked."""
        rows = [Row(solver, solver.supports(problem)) for solver in CANDIDATES]
        return Explanation(tuple(sorted(rows, key=lambda row: row.capability.cost)))

    def _solve(self, problem: Linear) -> Solution:
        chosen = self.explain(problem).chosen
        if chosen is None:
            raise CapabilityError(self.supports(problem).reason)
        return chosen._solve(problem)


def explain(problem: Linear) -> Explanation:
    """Which solver a problem would get, and why: the table behind `Auto`.

    Args:
        problem: What is asked.

    Example:
        >>> import torch
        >>> from monge import explain
        >>> from monge.geometry import Line
        >>> from monge.problem import Linear
        >>> explain(Linear(Line(torch.rand(5), torch.rand(5)))).chosen
        Sorted()
    """
    return Auto().explain(problem)

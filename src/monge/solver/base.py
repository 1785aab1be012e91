"""What every solver is: a small frozen value that says what it can do, and does it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from monge._value import Value
from monge.errors import NotConvergedError

if TYPE_CHECKING:
    from monge.problem import Linear

    from .solution import Solution

__all__ = ["Capability", "Solver"]


@dataclass(frozen=True)
class Capability:
    """Whether a solver can treat a problem, and at what price.

    Args:
        supported: Whether it can.
        cost: The estimated number of elementary operations, comparable between solvers; inf if unsupported.
        reason: One sentence: why not, or what the estimate rests on.
        memory: The estimated number of bytes that are allocated on the way.
    """

    supported: bool
    cost: float
    reason: str
    memory: float = 0.0

    @classmethod
    def no(cls, reason: str) -> Capability:
        """Not supported, because of ``reason``."""
        return cls(False, float("inf"), reason)


class Solver(Value):
    """A way of solving problems. Its fields are its settings; it keeps no state between problems."""

    @abstractmethod
    def supports(self, problem: Linear) -> Capability:
        """Whether this solver can treat the problem, and what it would cost."""

    @abstractmethod
    def _solve(self, problem: Linear) -> Solution:
        """The solution of a problem that is supported; called by `solve`, which has checked that."""

    @final
    def _answer(self, problem: Linear) -> Solution:
        """The solution, unless the solver is strict and misses its tolerance."""
        solution = self._solve(problem)
        if getattr(self, "strict", False) and not solution.report.status.ok:
            worst = float(solution.report.marginal_error.max())
            raise NotConvergedError(f"{solution.report.status.value} The marginal error is {worst:.2e}.", solution)
        return solution

"""What every solver is: a small frozen value that says what it can do, and does it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, final

from monge._value import Value
from monge.errors import CapabilityError, NotConvergedError
from monge.problem.traits import TRAITS

from ._estimate import relative_epsilon

if TYPE_CHECKING:
    from monge.problem import Problem

    from .solution import Solution

__all__ = ["Capability", "Case", "Solver"]


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


class Case:
    """A problem on its way to a solver: what several of them ask of it is asked once."""

    def __init__(self, problem: Any) -> None:
        self.problem = problem

    @cached_property
    def traits(self) -> frozenset[str]:
        """Those of the problem."""
        return self.problem.traits

    @cached_property
    def relative_epsilon(self) -> float:
        """The smallest epsilon of the batch, in units of the mean cost."""
        return relative_epsilon(self.problem)

    def lacks(self, treats: frozenset[str]) -> str:
        """Why a solver of these traits cannot treat the problem, in words."""
        return ", and ".join(words for trait, words in TRAITS.items() if trait in treats - self.traits)


class Solver(Value):
    """A way of solving problems. Its fields are its settings; it keeps no state between problems.

    A solver says in ``treats`` which traits a problem must have, a set of words of `monge.problem.TRAITS`, and writes
    ``_capability``, what such a problem would cost it, and ``_solve``.
    """

    treats: ClassVar[frozenset[str]] = frozenset({"linear"})

    @final
    def supports(self, problem: Problem) -> Capability:
        """Whether this solver can treat the problem, and what it would cost."""
        return self._supports(Case(problem))

    @final
    def _supports(self, case: Case) -> Capability:
        if self.treats <= case.traits:
            return self._capability(case)
        return Capability.no(f"{type(self).__name__} {case.lacks(self.treats)}.")

    @abstractmethod
    def _capability(self, case: Case) -> Capability:
        """The price of a problem that it treats; there may be further reasons to refuse."""

    def resolve(self, problem: Problem) -> Solver:
        """The solver that does the work: this one, or the one that a router chose.

        Raises:
            CapabilityError: If it cannot treat the problem.
        """
        capability = self.supports(problem)
        if not capability.supported:
            raise CapabilityError(capability.reason)
        return self

    def prepare(self, problem: Problem) -> Solver:
        """The solver for a series of problems like this one: it starts from what they share.

        Args:
            problem: The first of the series, or one like it.

        Returns:
            A solver with the same settings; here the one that `resolve` gives. Iterative solvers start from the
            potentials of this problem.
        """
        return self.resolve(problem)

    @abstractmethod
    def _solve(self, problem: Any) -> Solution:
        """The solution of a problem that is supported; called by `solve`, which has checked that."""

    @final
    def _answer(self, problem: Problem) -> Solution:
        """The solution, unless the solver is strict and misses its tolerance."""
        solution = self._solve(problem)
        if getattr(self, "strict", False) and not solution.report.status.ok:
            worst = float(solution.report.marginal_error.max())
            raise NotConvergedError(f"{solution.report.status.value} The marginal error is {worst:.2e}.", solution)
        return solution

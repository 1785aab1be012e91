"""The base class of solvers: a small frozen value that says which problems it can treat, and solves them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import torch

from monge._value import Value
from monge.errors import CapabilityError, InfeasibleError
from monge.problem import Problem
from monge.problem.traits import TRAITS

from .solution import Solution

__all__ = ["Capability", "Case", "Solver"]


@dataclass(frozen=True)
class Capability:
    """Whether a solver can treat a problem, and at what price.

    Args:
        supported: Whether it can.
        cost: The estimated number of elementary operations, comparable between solvers; inf if unsupported.
        reason: One sentence, which says why it cannot, or how the cost was estimated.
        memory: The estimated number of bytes that are allocated during the computation.
    """

    supported: bool
    cost: float
    reason: str
    memory: float = 0.0

    @classmethod
    def no(cls, reason: str) -> Capability:
        """The capability of a solver that cannot treat the problem, because of ``reason``."""
        return cls(False, float("inf"), reason)


@dataclass(frozen=True)
class Case:
    """A problem together with facts that several solvers need, so that each fact is computed only once.

    Args:
        problem: The problem.
        traits: Its traits.
    """

    problem: Any
    traits: frozenset[str]

    @cached_property
    @torch.no_grad()
    def relative_epsilon(self) -> float:
        """The smallest epsilon of the batch, in units of the mean cost; one if this unit does not exist."""
        problem = self.problem
        if 0 in problem.batch_shape:
            return 1.0
        try:
            share = problem.epsilon / problem.geometry.mean(problem.a, problem.b).abs()
        except InfeasibleError:
            return 1.0
        return min(1.0, float(torch.nan_to_num(share, nan=1.0, posinf=1.0).min()))


class Solver(Value):
    """A way of solving problems. Its fields are its settings; it keeps no state between problems.

    In ``treats``, a solver lists the traits that a problem must have, as a set of words of `monge.problem.TRAITS`. It
    writes two methods: ``_capability`` estimates what such a problem would cost, and ``_solve`` solves it.
    """

    treats: ClassVar[frozenset[str]] = frozenset({"linear"})

    @final
    def supports(self, problem: Problem) -> Capability:
        """Whether this solver can treat the problem, and what it would cost."""
        case = Case(problem, problem.traits)
        return self._capability(case) if self.treats <= case.traits else self._refusal(case)

    @final
    def _refusal(self, case: Case) -> Capability:
        """Why it does not treat a problem, trait by trait."""
        told = (words for trait, words in TRAITS.items() if trait in self.treats - case.traits)
        return Capability.no(f"{type(self).__name__} {', and '.join(told)}.")

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
        """The solver for a series of similar problems: it starts from the answer to one of them, if it can.

        Args:
            problem: The first problem of the series, or a similar one.

        Returns:
            A solver with the same settings. In this base class it is the one that `resolve` returns; iterative solvers
            return one that starts from the potentials of this problem.
        """
        return self.resolve(problem)

    @abstractmethod
    def _solve(self, problem: Any) -> Solution:
        """The solution of a problem that is supported; called by `solve`, which has checked that."""

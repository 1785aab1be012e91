"""The router: every solver says what a problem would cost it, and the cheapest one solves it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from monge._value import value
from monge.errors import CapabilityError
from monge.gradient import Gradient

from .base import Capability, Case, Solver
from .candidates import CANDIDATES
from .explanation import Explanation, Row

if TYPE_CHECKING:
    from monge.problem import Problem

    from .solution import DualSolution, Solution

__all__ = ["Auto"]

# Settings that are handed on to the solver that is chosen.
_SETTINGS = ("tol", "max_iter", "init", "gradient")


@value
class Auto(Solver):
    """Takes the most special solver that treats the problem, and of several the one of the smallest estimated cost.

    A solver is more special than another if it asks for all that the other asks for, and more: `Assignment` treats a
    part of what `Simplex` treats, and is faster there. Among others the estimates decide: every candidate counts the
    elementary operations it expects, from the numbers of points, the batch, and epsilon as a share of the mean cost,
    and the bytes it would allocate; `explain` shows them. Nothing is tried or timed, so that equal problems always
    meet the same solver.

    Args:
        candidates: The solvers to choose from, with their settings. The earlier of two equals wins.
        tol: Tolerance of the solver that is chosen; None leaves its own, as for the settings below. Solvers without
            iterations need none of them.
        max_iter: Limit of its iterations.
        init: Potentials that it starts from.
        gradient: How its answer is differentiated; only solvers that let one choose are candidates then.
        strict: Whether to raise NotConvergedError instead of reporting an unmet tolerance.

    Example:
        >>> import torch
        >>> from monge.geometry import Line
        >>> from monge.problem import Linear
        >>> from monge.solver import Auto
        >>> Auto().explain(Linear(Line(torch.rand(5), torch.rand(5)))).chosen
        Sorted()
        >>> Auto(tol=1e-6).resolve(Linear(Line(torch.rand(5), torch.rand(5)), epsilon=0.1))
        Sinkhorn(tol=1e-06, ...)
    """

    candidates: tuple[Solver, ...] = CANDIDATES
    tol: float | None = None
    max_iter: int | None = None
    init: tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]] | DualSolution | None = None
    gradient: Gradient | None = None
    strict: bool = False
    treats: ClassVar[frozenset[str]] = frozenset()

    def resolve(self, problem: Problem) -> Solver:
        """The solver that is taken, with the settings of this one."""
        case = Case(problem)
        able = [solver for solver in self._candidates() if solver.treats <= case.traits]
        special = [solver for solver in able if not _beaten(solver, able)]
        for some in (special, able):
            rows = [Row(solver, solver._capability(case)) for solver in some]
            chosen = Explanation(tuple(sorted(rows, key=_price))).chosen
            if chosen is not None:
                return chosen
        raise CapabilityError(self.explain(problem).refusal)

    def explain(self, problem: Problem) -> Explanation:
        """All candidates, in the order in which they would be taken."""
        case, candidates = Case(problem), self._candidates()
        able = [solver for solver in candidates if solver.treats <= case.traits]
        rows = [Row(solver, solver._supports(case)) for solver in candidates]
        beaten = [_beaten(solver, able) for solver in candidates]
        order = sorted(range(len(rows)), key=lambda k: (not rows[k].capability.supported, beaten[k], _price(rows[k])))
        return Explanation(tuple(rows[k] for k in order))

    def _capability(self, case: Case) -> Capability:
        explanation = self.explain(case.problem)
        if explanation.chosen is None:
            return Capability.no(explanation.refusal)
        return explanation.rows[0].capability

    def _solve(self, problem: Problem) -> Solution:
        return self.resolve(problem)._answer(problem)

    def _candidates(self) -> list[Solver]:
        """The candidates with the settings that are given and that they know."""
        given = {name: getattr(self, name) for name in _SETTINGS if getattr(self, name) is not None}
        if self.strict:
            given["strict"] = True
        if not given:
            return list(self.candidates)
        known = [(solver, {field.name for field in fields(solver)}) for solver in self.candidates]  # type: ignore[arg-type]
        return [
            solver if not names & given.keys() else _with(solver, {k: v for k, v in given.items() if k in names})
            for solver, names in known
            if self.gradient is None or "gradient" in names
        ]

    def __repr__(self) -> str:
        """Short, where the candidates are the usual ones."""
        settings = {name: getattr(self, name) for name in (*_SETTINGS, "strict")}
        told = [f"{name}={held!r}" for name, held in settings.items() if held not in (None, False)]
        if self.candidates is not CANDIDATES:
            told.insert(0, f"candidates={self.candidates!r}")
        return f"Auto({', '.join(told)})"


def _beaten(solver: Solver, able: list[Solver]) -> bool:
    """Whether another solver is more special."""
    return any(solver.treats < other.treats for other in able)


def _price(row: Row) -> tuple[bool, float]:
    """What cannot come last, then the dearer."""
    return not row.capability.supported, row.capability.cost


def _with(solver: Solver, settings: dict[str, Any]) -> Solver:
    """The solver with other settings, checked anew."""
    held = {**solver._contents(), **settings}
    return type(solver)(**held)

"""`solve`, and the choice of a solver: every solver says what a problem would cost, and the cheapest one solves it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable
from monge._value import value
from monge.coupling import DenseCoupling
from monge.errors import CapabilityError, ConvergenceWarning, DurationWarning, InputError, NotConvergedError
from monge.gradient import Gradient
from monge.problem import Linear, Problem

from .base import Capability, Case, Solver
from .candidates import SOLVERS
from .solution import DualSolution, Solution, Status

__all__ = [
    "Auto",
    "Explanation",
    "candidates",
    "check_problem",
    "estimated_seconds",
    "solution_of",
    "solve",
    "warned_solution",
]

# Elementary operations of the estimates in a second, measured on clouds of 4000 to 20000 points on one core, where the
# larger ones take longer for each; and the seconds from which on somebody should know.
_PER_SECOND, _LONG = 1e9, 60.0
# So many pairs take seconds at most, whoever solves them: then nothing is asked.
_SOON = 2**23
# Settings that are handed on to the solver that is chosen.
_SETTINGS = ("tol", "max_iter", "init", "gradient", "strict")


class Row(NamedTuple):
    """One line of an explanation."""

    solver: Solver
    capability: Capability


class Explanation(NamedTuple):
    """Which solvers can treat a problem, the cheapest first; printing it gives a table.

    Args:
        rows: Solvers with their capabilities, those that cannot treat the problem last.
    """

    rows: tuple[Row, ...]

    @property
    def chosen(self) -> Solver | None:
        """The solver that is chosen, or None; never one of infinite cost, which approximate solvers have."""
        return self.rows[0].solver if self.rows and self.rows[0].capability.cost < math.inf else None

    @property
    def refusal(self) -> str:
        """Why no solver can treat the problem: the reasons of all of them."""
        return " ".join(("No solver can treat this problem.", *(row.capability.reason for row in self.rows)))

    def __str__(self) -> str:
        """A table: solver, estimated operations and bytes, why."""
        lines = [f"{'solver':<13}{'operations':>12}{'memory':>10}  why"]
        for row in self.rows:
            can = row.capability.supported
            operations = (
                ("abstains" if row.capability.cost == math.inf else f"{row.capability.cost:.1e}") if can else "cannot"
            )
            memory = _readable(row.capability.memory) if can else ""
            lines.append(f"{type(row.solver).__name__:<13}{operations:>12}{memory:>10}  {row.capability.reason}")
        return "\n".join(lines)


def _readable(size: float) -> str:
    """Bytes in a unit that needs few digits."""
    power = min(int(math.log(max(size, 1), 1000)), 4)
    return f"{size / 1000**power:.0f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


@transformable
def solve(problem: Problem, solver: Solver | None = None) -> Solution:
    """Solve a transport problem.

    Args:
        problem: What is asked.
        solver: The solver to use; with None, `Auto` chooses the cheapest one that can, and `explain` shows the choice.

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
    if problem._differs:
        # The plan of another cost answers for that of the problem only entry by entry.
        found = solution_of(problem._posed(), solver)
        plan = DenseCoupling._make(matrix=found.coupling.dense(), geometry=problem._remembered())
        return found._replace(coupling=plan, value=found.value + problem._constant(), problem=problem)
    try:
        chosen = solver.resolve(problem)
    except CapabilityError as error:
        other = None if isinstance(solver, Auto) else Auto().explain(problem).chosen
        raise CapabilityError(f"{error}{f' {other} can.' if other is not None else ''}") from None
    solution = chosen._solve(problem)
    status = solution.report.status
    if getattr(chosen, "strict", False) and not status.ok:
        raise NotConvergedError(f"{status.value} {_missed(solution)}", solution)
    return solution._replace(coupling=solution.coupling._priced(problem._remembered()))


def warned_solution(problem: Problem, solver: Solver | None) -> Solution:
    """The solution, for functions whose answer has no room for a report: a warning if it misses the tolerance."""
    seconds = estimated_seconds(problem, solver)
    if seconds > _LONG:
        warnings.warn(
            f"This exact problem will take about {seconds / 60:,.0f} minutes by estimate: give epsilon a positive "
            "value, or use fewer points.",
            DurationWarning,
            stacklevel=4,
        )
    solution = solution_of(problem, solver)
    # Where rounding stopped a solver it has said so itself, with a `PrecisionWarning`.
    if solution.report.status is Status.MAX_ITER:
        warnings.warn(f"{Status.MAX_ITER.value} {_missed(solution)}", ConvergenceWarning, stacklevel=4)
    return solution


def estimated_seconds(problem: Problem, solver: Solver | None = None) -> float:
    """About how long an exact problem will take, by the operations that `Auto.explain` estimates, on one core.

    Args:
        problem: The problem.
        solver: The solver; with None, the one that `Auto` chooses.

    Returns:
        Seconds; zero for problems with entropy, whose time depends on how often they iterate, and for problems that the
        solver cannot treat.

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> from monge.problem import Linear
        >>> from monge.solver import estimated_seconds
        >>> estimated_seconds(Linear(PointCloud(torch.rand(40, 2), torch.rand(50, 2)))) < 1
        True
    """
    solver = Auto() if solver is None else solver
    if not isinstance(problem, Linear) or not isinstance(solver, Solver):
        return 0.0
    if math.prod((*problem.batch_shape, *problem.shape)) < _SOON or problem.entropic:
        return 0.0
    cost = _table(Case(problem, problem.traits), [solver]).rows[0].capability.cost
    return cost / _PER_SECOND if cost < math.inf else 0.0


def _missed(solution: Solution) -> str:
    return f"The marginal error is {float(solution.report.marginal_error.max()):.2e}."


def check_problem(problem: Any) -> None:
    """``problem`` must be a problem."""
    if not isinstance(problem, Problem):
        raise InputError(
            f"problem must be a problem such as Linear(geometry, a, b), but is {type(problem).__name__}: "
            "to couple point clouds directly use monge.couple(x, y)."
        )


def candidates() -> tuple[Solver, ...]:
    """One of every solver in `SOLVERS`, with its default settings.

    Packages that declare solvers are imported when this is asked first. A package that is broken is left out, with one
    `monge.errors.ExtensionWarning` that names it: the answers of the others are right without it.

    Example:
        >>> from monge.solver import Auto, candidates
        >>> Auto(candidates=candidates()[:1])
        Auto(candidates=(Sorted(),))
    """
    return _made(SOLVERS.values())


@cache
def _made(kinds: tuple[type[Solver], ...]) -> tuple[Solver, ...]:
    return tuple(kind() for kind in kinds)


@value
class Auto(Solver):
    """Chooses the most special solver that treats the problem, and among several the one of least estimated cost.

    A solver is more special than another one if it needs all traits that the other needs, and more: `Assignment` treats
    a part of the problems that `Simplex` treats, and is faster there. Otherwise the estimates decide. Every candidate
    estimates its elementary operations from the numbers of points, the batch, and epsilon as a share of the mean cost,
    and also the bytes that it would allocate; `explain` shows both. No solver is tried or timed, so that the same
    problem always gets the same solver.

    Args:
        candidates: The solvers to choose from, with their settings; None takes all of `SOLVERS`, those of installed
            packages included. Of two equal ones, the earlier is chosen.
        tol: Tolerance of the solver that is chosen. For this and the next settings, None keeps the value of the solver.
            Solvers without iterations ignore them.
        max_iter: Limit of its iterations.
        init: Potentials that it starts from.
        gradient: How its answer is differentiated; then only solvers that have this setting are candidates.
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

    candidates: tuple[Solver, ...] | None = None
    tol: float | None = None
    max_iter: int | None = None
    init: tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]] | DualSolution | None = None
    gradient: Gradient | None = None
    strict: bool = False
    treats: ClassVar[frozenset[str]] = frozenset()

    def resolve(self, problem: Problem) -> Solver:
        """The solver that is chosen, with the settings that were given to `Auto`."""
        case = Case(problem, problem.traits)
        if self.candidates is None and not self._given():
            able, special = _known(candidates(), case.traits)
        else:
            able, special = _able(self._candidates(), case.traits)
        told = _table(case, special)
        if not all(map(_takes, told.rows)):
            # A solver that refuses or abstains is no reason to leave out a less special one.
            told = _table(case, able)
        chosen = told.chosen
        if chosen is None:
            raise CapabilityError(self.explain(problem).refusal)
        return chosen

    def explain(self, problem: Problem) -> Explanation:
        """All candidates, in the order in which they would be chosen."""
        problem = problem._posed()
        return _table(Case(problem, problem.traits), self._candidates())

    def _capability(self, case: Case) -> Capability:
        explanation = self.explain(case.problem)
        if explanation.chosen is None:
            return Capability.no(explanation.refusal)
        return explanation.rows[0].capability

    def _solve(self, problem: Problem) -> Solution:
        return solution_of(problem, self)

    def _candidates(self) -> list[Solver]:
        """The candidates with the settings that are given and that they know, checked anew."""
        given, usual = self._given(), candidates() if self.candidates is None else self.candidates
        if not given:
            return list(usual)
        known = [(solver, solver._contents()) for solver in usual]
        return [
            type(solver)(**{**held, **{name: given[name] for name in given.keys() & held.keys()}})
            for solver, held in known
            if self.gradient is None or "gradient" in held
        ]

    def _given(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in _SETTINGS}
        return {name: held for name, held in settings.items() if held is not None and held is not False}

    def __repr__(self) -> str:
        """Short, where the candidates are the usual ones."""
        told = self._given() if self.candidates is None else {"candidates": self.candidates, **self._given()}
        return f"Auto({', '.join(f'{name}={held!r}' for name, held in told.items())})"


def _able(solvers: Sequence[Solver], traits: frozenset[str]) -> tuple[list[Solver], list[Solver]]:
    """The solvers that treat problems of these traits, and those of them than which none is more special."""
    able = [solver for solver in solvers if solver.treats <= traits]
    return able, [solver for solver in able if not _beaten(solver, able)]


# Of the usual solvers, which hold no tensors.
_known = lru_cache(maxsize=256)(_able)


def _takes(row: Row) -> bool:
    """Whether a solver can treat the problem and does not abstain."""
    return row.capability.supported and row.capability.cost < math.inf


def _table(case: Case, solvers: Sequence[Solver]) -> Explanation:
    rows = [
        Row(solver, solver._capability(case) if solver.treats <= case.traits else solver._refusal(case))
        for solver in solvers
    ]
    taking = [row.solver for row in rows if _takes(row)]

    def last(row: Row) -> tuple[bool, bool, bool, float]:
        """What cannot comes last, then what abstains, what is beaten, and the dearer."""
        capability = row.capability
        return not capability.supported, capability.cost == math.inf, _beaten(row.solver, taking), capability.cost

    return Explanation(tuple(sorted(rows, key=last)))


def _beaten(solver: Solver, able: Sequence[Solver]) -> bool:
    """Whether another solver is more special."""
    return any(solver.treats < other.treats for other in able)

"""Solvers by name: what the router chooses from."""

from __future__ import annotations

from functools import cache

from monge.errors import InputError
from monge.registry import Registry, check_derived

from .assignment import Assignment
from .base import Solver
from .newton import Newton
from .simplex import Simplex
from .sinkhorn import Sinkhorn
from .sorted import Sorted

__all__ = ["SOLVERS", "candidates"]


def _solvers_only(name: str, thing: object) -> None:
    check_derived(name, thing, Solver, "monge.solver.Solver")
    try:
        thing()  # type: ignore[operator]
    except TypeError as error:
        raise InputError(f"The solver {name!r} needs a default for every setting, but {error}.") from error


SOLVERS: Registry[type[Solver]] = Registry("solver", check=_solvers_only)
"""The solvers that `Auto` chooses from, and that the command line knows by name."""
SOLVERS.register("sorted", Sorted, "Sorting, for points on a line and a convex cost of their difference.")
SOLVERS.register("assignment", Assignment, "The assignment problem: the cheapest bijection of points of equal weights.")
for _solver in (Simplex, Sinkhorn, Newton):
    SOLVERS.register(_solver.__name__.lower(), _solver)


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

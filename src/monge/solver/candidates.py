"""Solvers by name, from which the router chooses."""

from __future__ import annotations

from monge.errors import InputError
from monge.registry import Registry, check_derived

from .assignment import Assignment
from .base import Solver
from .interior_point import InteriorPoint
from .newton import Newton
from .semi_dual import SemiDual
from .simplex import Simplex
from .sinkhorn import Sinkhorn
from .sorted import Sorted

__all__ = ["SOLVERS"]


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
SOLVERS.register("semi-dual", SemiDual, "L-BFGS on one potential: a quadratic penalty, and few nonzeros a column.")
SOLVERS.register(
    "interior", InteriorPoint, "Newton steps inside the constraints: exact plans between marginals of curved price."
)

"""Solvers that iterate to a tolerance: what their settings mean, where a series of problems starts, how they end."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import Self

from monge._checks import check_number

from ._entropic_solution import entropic_solution
from .base import Solver
from .solution import DualSolution

if TYPE_CHECKING:
    from monge.gradient import Gradient
    from monge.problem import Linear

    from ._loop import Iterate

__all__ = ["Iterative"]


class Iterative(Solver):
    """What solvers of entropic problems share; they have the fields tol, max_iter, gradient and strict."""

    treats: ClassVar[frozenset[str]] = frozenset({"linear", "entropic"})

    if TYPE_CHECKING:
        tol: float | None
        max_iter: int
        gradient: Gradient

    def __post_init__(self) -> None:
        if self.tol is not None:
            check_number("tol", self.tol, low=0.0, high=1.0, strict=True)
        check_number("max_iter", self.max_iter, low=1)

    def prepare(self, problem: Linear) -> Self:  # type: ignore[override]
        """The same solver, started from the potentials of this problem: for a series of similar ones.

        Args:
            problem: The first of the series, which is solved, or one like it.

        Raises:
            CapabilityError: If it cannot treat the problem.

        Example:
            >>> import torch
            >>> from monge import solve
            >>> from monge.problem import Linear
            >>> from monge.solver import Sinkhorn
            >>> x = torch.linspace(0, 1, 30, dtype=torch.float64)[:, None]
            >>> first, second = (Linear.between(x, x**power, epsilon=0.02) for power in (2, 2.01))
            >>> solver = Sinkhorn().prepare(first)
            >>> bool(solve(second, solver).report.iterations < solve(second).report.iterations)
            True
        """
        self.resolve(problem)
        if not any(field.name == "init" for field in fields(self)):  # type: ignore[arg-type]
            return self
        with torch.no_grad():
            return self._replace(init=self._solve(problem.detach()))

    def _ended(self, problem: Linear, wide: Linear, end: Iterate, tol: float, warned: bool) -> DualSolution:
        """The solution at the potentials where a loop ended."""
        return entropic_solution(
            wide,
            end.f,
            end.g,
            gradient=self.gradient,
            iterations=end.iterations,
            ended=end.settled,
            tol=tol,
            dtype=problem.geometry.dtype,
            warned=warned,
        )

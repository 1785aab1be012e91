"""Solvers that iterate to a tolerance: what their settings mean, where a series of problems starts, how they end."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from monge._arrays import working_dtype
from monge._checks import check_number
from monge.dual import Ascent
from monge.errors import InputError
from monge.gradient import Gradient
from monge.problem import Linear

from ._entropic_solution import entropic_solution
from ._feasible import check_feasible
from ._loop import Iterate
from ._working import Accuracy
from .base import Solver
from .solution import DualSolution, initial_potentials


class Iterative(Solver):
    """What solvers of entropic problems share; they have the fields tol, max_iter, gradient and strict."""

    treats: ClassVar[frozenset[str]] = frozenset({"linear", "entropic"})

    if TYPE_CHECKING:
        tol: float | None
        max_iter: int
        gradient: Gradient

    init: Any = None
    anneal: bool = True
    # The marginal error that is asked for by default in double precision.
    double_tol: ClassVar[float] = 1e-9

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
        if "init" not in self._contents():
            return self
        with torch.no_grad():
            return self._replace(init=self._solve(problem.detach()))

    @abstractmethod
    def _iterated(self, problem: Linear, accuracy: Accuracy) -> Iterate:
        """Where the iterations end, for a problem of constants and what can be asked of its answer."""

    def _constant(self, problem: Linear) -> Linear:
        """The problem that is iterated on: constants, in a dtype that resolves them."""
        return problem.detach()._widened(working_dtype(problem.geometry.dtype))

    def _solve(self, problem: Linear) -> DualSolution:
        given = problem.geometry.dtype
        dtype = working_dtype(given)
        wide, tol = problem._widened(dtype), self.tol
        if tol is None:
            # Entries of a plan of half precision are themselves rounded by as much.
            tol = {torch.float64: self.double_tol, torch.float32: 1e-4, torch.float16: 1e-3}.get(given, 1e-2)
        check_feasible(problem)
        with torch.no_grad():
            constant = self._constant(problem)
            accuracy = Accuracy(constant, tol, dtype)
            warned = accuracy.foretell()
            end = self._iterated(constant, accuracy)
        return entropic_solution(wide, end, gradient=self.gradient, tol=tol, dtype=given, warned=warned)

    def _start(self, problem: Linear) -> tuple[Tensor, Tensor]:
        """The potential of the columns and the epsilon to begin with."""
        g, epsilon = Ascent(problem).start()
        target = problem.epsilon.broadcast_to(problem.batch_shape)
        if self.init is None:
            return g, epsilon if self.anneal else target
        return initial_potential(self.init, problem), target


def initial_potential(init: tuple[Tensor, Tensor] | DualSolution, problem: Linear) -> Float[Tensor, "*b m"]:
    """The potential of the columns to start from."""
    _, g = initial_potentials(init, problem)
    if not bool(g.isfinite().all()):
        raise InputError("init: g must be finite, but is not: start from the potentials of a solution.")
    return g if problem.mass is None else g - torch.where(problem.b > 0, g, -math.inf).amax(-1, keepdim=True)

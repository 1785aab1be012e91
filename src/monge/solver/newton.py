"""Entropic transport by Newton's method."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge._value import value
from monge.gradient import Gradient, Implicit
from monge.problem import Linear

from ._iterative import Iterative
from ._loop import Goal, Iterate
from ._newton_loop import newton_loop
from ._working import Accuracy
from .base import Capability, Case
from .solution import DualSolution

__all__ = ["Newton"]

# A solve takes about this many passes over the costs, and for each factor of ten by which epsilon is below the mean
# cost this many more; linear systems included, in units of one iteration.
_FEW_PASSES, _PASSES_PER_DECADE = 80, 40
# Costs of up to so many pairs are stored, in 32 MB: they are read dozens of times.
_STORED_ENTRIES = 2**22


@value
class Newton(Iterative):
    """Newton's method on the dual: for a small epsilon, or if the marginals must be met to many digits.

    Block ascent (Sinkhorn) needs a number of iterations that grows like 1 / epsilon. Newton's method needs only a few
    iterations for each halving of epsilon. Each step solves a linear system in the columns: the Hessian of the dual
    with the rows eliminated. The system is scaled by the masses, so that points of little mass are as accurate as the
    others. A small system is solved by Cholesky, a large one by conjugate gradients on the large entries of the plan,
    which are few when epsilon is small. Steps are bounded. A step is accepted only if the dual value rises by at least
    a share of what the gradient predicts, and by no more than it predicts. Where this fails, plain iterations take
    over, and where they do not help either, accelerated ascent. Everything is computed in float64, whatever the dtype
    of the answer. In a batch, each problem has its own epsilon and its own steps, and stops by itself.

    Args:
        tol: L1 marginal error, relative to the mass asked for; None is 1e-9 in float64, 1e-4 in float32, 1e-3 in
            float16 and 1e-2 in bfloat16, whose plans have entries that are rounded by as much.
        max_iter: Limit of the number of iterations; each pair of potentials that is tried counts as one.
        init: Potentials to start from: a pair (f, g) or an earlier solution. Epsilon then has its final value at once.
        gradient: How the answer is differentiated.
        strict: Whether to raise NotConvergedError instead of reporting an unmet tolerance.

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> from monge.problem import Linear, relative
        >>> from monge.solver import Newton
        >>> x = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
        >>> solution = Newton()._solve(Linear(PointCloud(x, x**2), epsilon=relative(1e-3)))
        >>> bool(solution.report.marginal_error < 1e-9)
        True

    Source: Tang et al., Accelerating Sinkhorn algorithm with sparse Newton iterations, arXiv:2401.12253; Kemertas,
    Farahmand, Jepson, A truncated Newton method for optimal transport, arXiv:2504.02067.
    """

    tol: float | None = None
    max_iter: int = 1000
    init: tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]] | DualSolution | None = None
    gradient: Gradient = Implicit()
    strict: bool = False

    def _capability(self, case: Case) -> Capability:
        problem = case.problem
        if self.gradient._recorded:
            return Capability.no("Newton has no fixed number of iterations to record; Sinkhorn has.")
        n, m = problem.shape
        passes = int(_FEW_PASSES - _PASSES_PER_DECADE * math.log10(case.relative_epsilon))
        cost = 2.0 * math.prod(problem.batch_shape) * n * m * passes
        return Capability(True, cost, f"about {passes} passes over the {n} x {m} costs, linear systems included.")

    def _constant(self, problem: Linear) -> Linear:
        constant = problem.detach()._widened(torch.float64)
        entries = math.prod(problem.geometry.batch_shape) * math.prod(problem.shape)
        return constant if entries > _STORED_ENTRIES else constant._stored()

    def _iterated(self, problem: Linear, accuracy: Accuracy) -> Iterate:
        goal = Goal(accuracy.goal, accuracy.floor(torch.float64))
        return newton_loop(problem, *self._start(problem), goal=goal, max_iter=int(self.max_iter))

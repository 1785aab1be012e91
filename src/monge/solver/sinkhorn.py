"""Entropic transport by block ascent."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import check_number
from monge._value import value
from monge.dual import Ascent
from monge.gradient import Gradient, Implicit
from monge.problem import Linear

from ._entropic_solution import entropic_solution
from ._iterative import Iterative, initial_potential
from ._kept_kernel import KeptAscent, is_kept, kept_bytes
from ._loop import Goal, Iterate
from ._sinkhorn_loop import sinkhorn_loop
from ._working import Accuracy
from .base import Capability, Case
from .solution import DualSolution

__all__ = ["Sinkhorn"]

# Iterations that an accelerated solve takes are about the first, plus the second over epsilon in units of the mean
# cost.
_FEW_ITERATIONS, _ITERATIONS_OVER_EPSILON = 20, 1.2


@value
class Sinkhorn(Iterative):
    """Sinkhorn's algorithm, in the log domain, for every kind of marginal.

    Each iteration maximises the dual exactly over f, then over g: f = U(T(g)) with the soft c-transform
    T(g)_i = -epsilon log sum_j b_j exp((g_j - C_ij) / epsilon) and a map U that depends on the marginal.
    Costs are computed block by block, so that only points and potentials are stored, unless costs and kernel of a
    balanced problem fit ``max_bytes``: then iterations at the last epsilon are products with the kernel, which is
    made anew, or left for the log domain, before its numbers leave a safe range. Epsilon is lowered by factors
    of four until it has its final value. From then on Anderson mixing accelerates the iteration, and a step of it that
    lowers the dual value is undone. In a batch, each problem stops by itself, and its answer does not depend on the
    other problems.

    Args:
        tol: L1 marginal error, relative to the mass asked for; None is 1e-6 in float64, 1e-4 in float32, 1e-3 in
            float16 and 1e-2 in bfloat16, whose plans have entries that are rounded by as much.
        max_iter: Limit of the number of iterations. `Unrolled` gradients make it the exact number.
        init: Potentials to start from: a pair (f, g) or an earlier solution. Epsilon then has its final value at once.
        anneal: Whether epsilon is lowered gradually.
        accelerate: Whether to use Anderson mixing.
        gradient: How the answer is differentiated.
        strict: Whether to raise NotConvergedError instead of reporting an unmet tolerance.
        max_bytes: How much memory the costs and the kernel of one problem may take, in bytes, on a CPU; with zero
            everything is streamed.

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> from monge.problem import Linear
        >>> from monge.solver import Sinkhorn
        >>> x = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
        >>> problem = Linear(PointCloud(x, x**2), epsilon=0.01)
        >>> Sinkhorn()._solve(problem).report.status.ok
        True

    Source: Cuturi, Sinkhorn distances, arXiv:1306.0895; Peyre, Cuturi, Computational optimal transport,
    arXiv:1803.00567.
    """

    tol: float | None = None
    max_iter: int = 2000
    init: tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]] | DualSolution | None = None
    anneal: bool = True
    accelerate: bool = True
    gradient: Gradient = Implicit()
    strict: bool = False
    max_bytes: float = 2**29
    double_tol: ClassVar[float] = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("max_bytes", self.max_bytes, low=0)

    def _capability(self, case: Case) -> Capability:
        problem = case.problem
        n, m = problem.shape
        iterations = int(self.max_iter)
        if not self.gradient._recorded:
            iterations = min(iterations, int(_FEW_ITERATIONS + _ITERATIONS_OVER_EPSILON / case.relative_epsilon))
        cost = 2.0 * math.prod(problem.batch_shape) * n * m * iterations
        how, memory = "streamed", 0.0
        if is_kept(problem, self.max_bytes):
            memory = float(kept_bytes(problem))
            how = f"kept in {memory / 2**20:.1f} MiB of at most {self.max_bytes / 2**20:.1f} MiB"
        return Capability(True, cost, f"about {iterations} iterations over the {n} x {m} costs, {how}.", memory)

    def _solve(self, problem: Linear) -> DualSolution:
        return self._unrolled(problem) if self.gradient._recorded else super()._solve(problem)

    def _iterated(self, problem: Linear, accuracy: Accuracy) -> Iterate:
        goal = Goal(accuracy.goal, accuracy.floor(problem.a.dtype))
        g, epsilon = self._start(problem)
        if 0 in problem.batch_shape or not is_kept(problem, self.max_bytes):
            return self._looped(problem, g, epsilon, goal, None)
        # One after the other, so that one kernel is held at a time, and a batch is a loop to the last bit.
        shape = problem.batch_shape
        if not shape:
            return self._looped(problem, g, epsilon, goal, KeptAscent(problem))
        ends = []
        for place in np.ndindex(*shape):
            index = tuple(torch.tensor(k) for k in place)
            alone = problem._select(index)
            ends.append(self._looped(alone, g[place], epsilon[place], goal._select(index), KeptAscent(alone)))
        stacked = (torch.stack(parts) for parts in zip(*ends, strict=True))
        return Iterate(*(part.reshape(*shape, *part.shape[1:]) for part in stacked))

    def _looped(self, problem: Linear, g: Tensor, epsilon: Tensor, goal: Goal, ascent: KeptAscent | None) -> Iterate:
        return sinkhorn_loop(
            problem if ascent is None else ascent.problem,
            g,
            epsilon,
            goal=goal,
            max_iter=int(self.max_iter),
            accelerate=self.accelerate,
            ascent=ascent,
        )

    def _unrolled(self, problem: Linear) -> DualSolution:
        """A fixed number of plain iterations in the graph of autograd."""
        given = problem.geometry.dtype
        problem = problem._widened(working_dtype(given))
        ascent = Ascent(problem)
        g = ascent.zero() if self.init is None else initial_potential(self.init, problem)
        f, epsilon = g, problem.epsilon.broadcast_to(problem.batch_shape)
        for _ in range(int(self.max_iter)):
            f, g = ascent.images(g, epsilon)
        spent = torch.full(problem.batch_shape, int(self.max_iter), device=g.device)
        end = Iterate(f, g, spent, torch.zeros_like(spent, dtype=torch.bool))
        return entropic_solution(problem, end, gradient=self.gradient, tol=None, dtype=given)

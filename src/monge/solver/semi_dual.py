"""Plans with few nonzeros, by ascent on one potential."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from monge._arrays import row_blocks
from monge._checks import check_number
from monge._value import value
from monge.coupling import SparseCoupling
from monge.errors import InfeasibleError
from monge.problem import SparseLinear

from . import _approximate
from .base import Capability, Case, Solver
from .solution import DualSolution, Report, Status

__all__ = ["SemiDual"]


@value
class SemiDual(Solver):
    r"""Transport with a quadratic penalty and at most k nonzeros a column, through its concave semi-dual.

    For a potential f of the rows, the best column j is the projection of its k largest $f_i - C_{ij}$ onto the simplex
    of mass $b_j$, which a sort finds. What is missing of the row marginals is the gradient by f, and L-BFGS climbs
    along it. The column marginals are exact and the limit is kept at every step. Without a limit the row marginals are
    met to ``tol``. With a limit the problem is not convex: at the maximum several choices of the k largest may tie, and
    then the rows are missed by what the report says.

    The plan is a list of its nonzeros, and costs are computed for a block of columns at a time.

    Args:
        tol: L1 error of the row marginal, relative to the mass.
        max_iter: Limit of the number of iterations.

    Raises:
        InfeasibleError: If a pair is forbidden, or if so few nonzeros leave a row without any.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.problem import Linear, SparseLinear
        >>> from monge.solver import SemiDual
        >>> x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
        >>> solution = solve(SparseLinear(Linear.between(x, x + 1.0, epsilon=0.5), nonzeros=3), SemiDual())
        >>> int((solution.coupling.dense() > 0).sum(0).max()) <= 3
        True

    Source: Liu, Puigcerver, Blondel, Sparsity-constrained optimal transport (arXiv 2209.15466).
    """

    tol: float = 1e-6
    max_iter: int = 500
    treats: ClassVar[frozenset[str]] = frozenset({"sparse"})

    def __post_init__(self) -> None:
        check_number("tol", self.tol, low=0.0)
        check_number("max_iter", self.max_iter, low=1)

    def _capability(self, case: Case) -> Capability:
        problem, (n, m) = case.problem, case.problem.shape
        cost = 20.0 * math.prod(problem.batch_shape) * n * m * min(int(self.max_iter), 200)
        return Capability(True, cost, f"about 200 sorts of the {n} x {m} costs, a block of columns at a time.")

    def _solve(self, problem: SparseLinear) -> DualSolution:
        _approximate.check_weights_constant(problem.linear)
        batch, dtype, found = problem.batch_shape, problem.geometry.dtype, []
        wide = problem.detach()._replace(linear=problem.linear.detach()._widened(torch.float64))
        for single in _approximate.each_problem(wide):
            found.append(self._climbed(single))
        width = max(len(entries[2]) for entries, *_ in found)
        i, j, w = (_approximate.stacked([_padded(entries[k], width) for entries, *_ in found], batch) for k in range(3))
        f, g, steps = (_approximate.stacked([one[k] for one in found], batch) for k in (1, 2, 3))
        plan = SparseCoupling._make(i=i, j=j, w=w, n=problem.shape[0], m=problem.shape[1])
        with torch.no_grad():
            row, col = plan.marginals()
            mass = wide.a.sum(-1)
            error = ((row - wide.a).abs().sum(-1) + (col - wide.b).abs().sum(-1)) / mass
            penalty = wide.strength / 2 * (w * w).sum(-1)
            cost = plan._inner(wide.geometry)
            gap = wide.linear._priced(cost + penalty, row, col, f, g) - wide.dual(f, g)
        spent = bool((steps >= self.max_iter).any())
        met = bool((error <= self.tol + 1e-12).all())
        report = Report._make(
            status=Status.CONVERGED if met else Status.MAX_ITER if spent else Status.UNMET,
            marginal_error=error.to(dtype).expand(batch),
            duality_gap=gap.clamp_min(0).to(dtype).expand(batch),
            iterations=steps.expand(batch),
            epsilon=problem.epsilon.detach().expand(batch),
        )
        plan = plan.to(dtype)
        value = plan._inner(problem.geometry) + penalty.to(dtype)
        f, g = f.to(dtype), g.to(dtype)
        return DualSolution._make(coupling=plan, value=value.expand(batch), report=report, problem=problem, f=f, g=g)

    @torch.no_grad()
    def _climbed(self, problem: SparseLinear) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor, Tensor]:
        """The nonzeros of the plan of one problem, its potentials, and the number of iterations."""
        held, mass = (problem.a > 0).nonzero()[:, 0], float(problem.a.sum())
        k = min(problem.nonzeros or len(held), len(held))
        if k * int((problem.b > 0).sum()) < len(held):
            raise InfeasibleError(
                f"nonzeros={k} allows {k * int((problem.b > 0).sum())} nonzeros in all, fewer than the {len(held)} "
                f"rows with weight: allow more nonzeros."
            )
        a, strength = problem.a[held] / mass, float(problem.strength) * mass
        columns = _Columns(problem, held, k, strength, mass)
        scale = columns.scale

        def negative(f: np.ndarray) -> tuple[float, np.ndarray]:
            worth, row, _ = columns.best(torch.from_numpy(f).to(a) * scale, listed=False)
            total = float(a @ (torch.from_numpy(f).to(a) * scale)) + worth
            return -total / scale, (row - a).cpu().numpy()

        from scipy.optimize import minimize  # heavy, and only needed here

        options: dict[str, Any] = {
            "maxiter": int(self.max_iter), "maxfun": 3 * int(self.max_iter), "maxcor": 20, "ftol": 0.0,
            "gtol": self.tol / (2 * len(held)),
        }  # fmt: skip
        found = minimize(negative, np.zeros(len(held)), jac=True, method="L-BFGS-B", options=options)
        inside = torch.from_numpy(found.x).to(a) * scale
        _, _, (i, j, w, g) = columns.best(inside, listed=True)
        # The potential of a point without weight is the largest of which no plan takes notice.
        f = problem.geometry._ctransform(torch.where(problem.b > 0, g, -math.inf))[0]
        f[held] = inside
        return (held[i], j, w * mass), f, g, torch.tensor(found.nit, device=a.device)


class _Columns:
    """The best columns of the plan of one problem of mass one for a potential of the rows, a block at a time."""

    def __init__(self, problem: SparseLinear, held: Tensor, k: int, strength: float, mass: float) -> None:
        self.geometry, self.held, self.k, self.strength = problem.geometry.T, held, k, strength
        self.b = problem.b / mass
        m, width = len(self.b), 8 * len(problem.a) * max(4, problem.geometry._scalars_per_entry())
        self.blocks = row_blocks(m, width)
        sizes = self.geometry._block(self.blocks[0])
        if any(not bool(self.geometry._block(some).isfinite().all()) for some in self.blocks):
            raise InfeasibleError(
                "SemiDual needs finite costs, but a pair costs inf or NaN: use Simplex or Sinkhorn, which treat "
                "forbidden pairs."
            )
        self.scale = float((sizes - sizes.mean()).abs().mean()) or 1.0

    def best(self, f: Tensor, *, listed: bool) -> tuple[float, Tensor, tuple[Tensor, ...]]:
        """What the columns are worth, their row sums, and if they are kept their nonzeros and potentials."""
        worth, row, kept, potentials = 0.0, torch.zeros_like(f), [], []
        ranks = torch.arange(1, self.k + 1, dtype=f.dtype, device=f.device)
        for some in self.blocks:
            b = self.b[some, None]
            score, index = (f - self.geometry._block(some)[:, self.held]).topk(self.k, -1)
            levels = (self.strength * b - score.cumsum(-1)) / ranks
            last = (score + levels > 0).long().mul(ranks.long()).amax(-1, keepdim=True).clamp_min(1)
            g = levels.gather(-1, last - 1)
            w = (score + g).clamp_min(0) / self.strength
            worth += float((b * g).sum() - self.strength / 2 * (w * w).sum())
            row = row.index_add(0, index.reshape(-1), w.reshape(-1))
            if listed:
                column, place = (w > 0).nonzero(as_tuple=True)
                kept.append((index[column, place], column + some.start, w[column, place]))
                potentials.append(g[:, 0])
        if not listed:
            return worth, row, ()
        return worth, row, (*(torch.cat(part) for part in zip(*kept, strict=True)), torch.cat(potentials))


def _padded(part: Tensor, width: int) -> Tensor:
    """A list of nonzeros, with entries of weight zero at the end."""
    return torch.nn.functional.pad(part, (0, width - len(part)))

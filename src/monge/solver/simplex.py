"""Exact transport by the network simplex."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge import kernels
from monge._value import value
from monge.coupling import SparseCoupling
from monge.errors import DenseLimitError
from monge.problem import Linear

from ._dummies import extend, priceable
from ._exact import conclude_exact
from .base import Capability, Solver
from .solution import DualSolution

__all__ = ["Simplex"]


@value
class Simplex(Solver):
    r"""The network simplex: exact plans and potentials for any weights.

    Balanced problems are solved as they are, from points without a cost matrix where the cost is a norm. Marginals that
    may be missed at a linear price (`AtMost`, `Free`, total variation, a given mass) become a balanced problem with one
    dummy point on each side. Everything runs in float64; the answer is a vertex, and its duality gap is measured.

    Args:
        max_bytes: The largest cost matrix that may be built where one is needed.

    Example:
        >>> import torch
        >>> from monge.geometry import CostMatrix
        >>> from monge.problem import Linear
        >>> from monge.solver import Simplex
        >>> Simplex()._solve(Linear(CostMatrix(torch.tensor([[0.0, 1.0], [1.0, 0.0]])))).value
        tensor(0.)

    Source: Ahuja, Magnanti, Orlin, Network Flows (1993), chapter 11.
    """

    max_bytes: int = 2**32

    def supports(self, problem: Linear) -> Capability:
        """Linear problems without entropy whose marginals cost at most linearly."""
        if not isinstance(problem, Linear):
            return Capability.no(f"Simplex treats Linear problems, not {type(problem).__name__}.")
        if problem.entropic:
            return Capability.no("Simplex is exact: it needs epsilon=0.")
        for side in (problem.source, problem.target):
            if not priceable(side):
                return Capability.no(
                    f"Simplex needs marginals of linear price, not Relaxed(penalty={side.penalty!r}): "  # type: ignore[attr-defined]
                    "use Sinkhorn with a small epsilon."
                )
        n, m = problem.shape
        cost = 40.0 * math.prod(problem.batch_shape) * n * m * math.sqrt(n + m)
        return Capability(True, cost, f"network simplex on {n} x {m} pairs, float64, one problem after the other.")

    def _solve(self, problem: Linear) -> DualSolution:
        constant = problem.detach()
        n, m = problem.shape
        batch = constant.batch_shape
        flat = [constant._select(_index(k, batch)) for k in range(math.prod(batch))] if batch else [constant]
        solved = [self._one(one) for one in flat]
        size = max(len(part[2]) for part in solved)
        dtype, device = constant.a.dtype, constant.a.device

        def gather(which: int, pad: bool, kind: torch.dtype) -> Tensor:
            rows = [part[which] for part in solved]
            if pad:
                rows = [torch.nn.functional.pad(row, (0, size - len(row))) for row in rows]
            return torch.stack(rows).reshape(*batch, rows[0].shape[-1]).to(device=device, dtype=kind)

        i, j = (gather(k, True, torch.long) for k in (0, 1))
        w, f, g = gather(2, True, dtype), gather(3, False, dtype), gather(4, False, dtype)
        coupling = SparseCoupling._make(i=i, j=j, w=w, n=n, m=m)
        return conclude_exact(problem, coupling, f, g)

    def _one(self, problem: Linear) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        a, b = (side.weights.double().cpu() for side in (problem.source, problem.target))
        if problem.balanced and problem.mass is None:
            pairs = problem.geometry._pairs()
            if isinstance(pairs, kernels.Points) and pairs.kind == "norm":
                cost = kernels.Points(pairs.x.double().cpu(), pairs.y.double().cpu(), "norm", pairs.p, pairs.power)
            else:
                cost = self._matrix(problem)
            return tuple(kernels.simplex(cost, a, b))  # type: ignore[return-value]
        extended = extend(problem, self._matrix(problem), a, b)
        return extended.restrict(kernels.simplex(extended.cost, extended.a, extended.b))

    def _matrix(self, problem: Linear) -> Tensor:
        n, m = problem.shape
        if 8 * n * m > self.max_bytes:
            raise DenseLimitError(
                f"Simplex needs the {n} x {m} cost in float64, {8 * n * m:,} bytes, more than max_bytes="
                f"{self.max_bytes:,}: use Sinkhorn with a small epsilon, or Simplex(max_bytes=...)."
            )
        return problem.geometry.dense(self.max_bytes).double().cpu()


def _index(k: int, batch: torch.Size) -> tuple[int, ...]:
    place = []
    for size in reversed(batch):
        k, rest = divmod(k, size)
        place.append(rest)
    return tuple(reversed(place))

"""Transport by slices, as a solver."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from monge import kernels
from monge._checks import check_choice, check_number
from monge._value import value
from monge.coupling import MixtureCoupling
from monge.geometry import PointCloud
from monge.problem import Linear
from monge.solver import Capability, Case, DualSolution, Report, Solver, Status

from .._aligned_clouds import Clouds, per_slice
from ..directions import KINDS, directions_for
from ..slicer import LinearSlicer
from .lift import monotone_plan, slice_costs, slice_weights

__all__ = ["Sliced"]


@value
class Sliced(Solver):
    r"""A feasible plan made of one-dimensional plans, and a bound on how far it can be from the optimum.

    Each direction gives a plan by sorting. The mean of these plans with weights $\propto e^{-\tau D}$ (or, for infinite
    $\tau$, the cheapest plan) has exact marginals, and costs at least as much as the optimum. For the squared distance,
    the sum of the potentials of an orthonormal basis is feasible, so that slices also give a lower bound of the
    optimum, and the duality gap of the report is a guarantee. It takes $O(L (n + m) \log(n + m))$ operations, and one
    streamed pass over the costs for the gap.

    Args:
        slices: Number of directions, rounded up to whole bases.
        inverse_temperature: tau >= 0 in units of one over the mean cost of the slices; inf takes the best slice.
        kind: Law of the directions, see `directions`.
        seed: Seed of the directions; the same seed gives the same plan.

    Example:
        >>> import torch
        >>> import monge
        >>> from monge.sliced import Sliced
        >>> x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        >>> P = monge.couple(x, x + 3.0, solver=Sliced())  # a shift sorts the same way on every slice
        >>> round(float(P.transport_cost(monge.geometry.PointCloud(x, x + 3.0))), 3)
        18.0

    Source: Liu et al., Expected sliced transport plans (arXiv 2410.12176); Mahey et al., Fast optimal transport through
    sliced generalized Wasserstein geodesics (arXiv 2307.01770).
    """

    slices: int = 64
    inverse_temperature: float = math.inf
    kind: str = "orthogonal"
    seed: int = 0
    treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact", "points", "balanced"})

    def __post_init__(self) -> None:
        check_number("slices", self.slices, low=1)
        check_number("inverse_temperature", float(self.inverse_temperature), low=0.0, infinity=True)
        check_choice("kind", self.kind, KINDS)

    def _capability(self, case: Case) -> Capability:
        problem = case.problem
        if problem.mass is not None:
            return Capability.no("Sliced needs two Fixed marginals and no mass.")
        n, m = problem.shape
        points = math.prod(problem.batch_shape) * self.slices * (n + m)
        why = (
            f"approximate, in about {30.0 * points * math.log2(n + m + 1):.0e}; never chosen: ask with solver=Sliced()."
        )
        return Capability(True, math.inf, why, 40.0 * points)

    def _solve(self, problem: Linear) -> DualSolution:
        geometry, batch = problem.geometry, problem.batch_shape
        assert isinstance(geometry, PointCloud)
        a, b = (side.detach().expand(*batch, side.shape[-1]) for side in (problem.a, problem.b))
        equal = a.shape == b.shape and bool((a == a[..., :1]).all()) and bool((b == b[..., :1]).all())
        u, v = (side.expand(*batch, *side.shape[-2:]) for side in self._slicer(geometry)._projected(
            Clouds(geometry.x, geometry.y))[:2])  # fmt: skip
        lines = Clouds(u, v) if equal else Clouds(u, v, *per_slice(a, b))
        plans, mass = monotone_plan(*lines), a.sum(-1, keepdim=True)
        costs = slice_costs(plans, geometry)
        weights = slice_weights(costs, self.inverse_temperature) * (mass if equal else 1)  # bijections have mass one
        coupling = MixtureCoupling._make(component=plans, weights=weights)
        cost = (weights * costs).sum(-1)
        with torch.no_grad():
            f, g = _potentials(problem.detach(), lines)
            row, col = coupling.marginals()
            report = Report._make(
                status=Status.APPROXIMATE,
                marginal_error=((row - a).abs().sum(-1) + (col - b).abs().sum(-1)) / mass[..., 0],
                duality_gap=(cost - problem.detach().dual(f, g)).clamp_min(0),
                iterations=torch.zeros(batch, dtype=torch.long, device=a.device),
                epsilon=problem.epsilon.detach().expand(batch),
            )
        return DualSolution._make(coupling=coupling, value=cost, report=report, problem=problem, f=f, g=g)

    def _slicer(self, geometry: PointCloud) -> LinearSlicer:
        d = geometry.x.shape[-1]
        count = self.slices if self.kind != "orthogonal" else -(-self.slices // d) * d
        generator = torch.Generator().manual_seed(self.seed)
        return LinearSlicer(directions_for(geometry.x, count, generator, self.kind))


def _potentials(problem: Linear, lines: Clouds) -> tuple[Tensor, Tensor]:
    """Feasible potentials: for the squared distance, of what the slices say together."""
    geometry, g = problem.geometry, torch.zeros_like(problem.b)
    assert isinstance(geometry, PointCloud)
    if geometry._is_squared_euclidean:
        g = (kernels.line_potentials(*lines, 2.0)[1].mean(-2) * geometry.x.shape[-1]).to(g.dtype)
    f, _ = geometry._ctransform(torch.where(problem.b > 0, g, -math.inf))
    return problem._normalised(f, g)

"""Exact transport on a line, by sorting."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge import kernels
from monge._value import value
from monge.coupling import Coupling, MonotoneCoupling, PermutationCoupling
from monge.geometry import Geometry, Line, PointCloud
from monge.problem import Linear

from .base import Capability, Solver
from .solution import DualSolution, Report, Status

__all__ = ["Sorted", "staircase_plan"]


@value
class Sorted(Solver):
    r"""Sorting, for a cost $|x - y|^p$ on a line: the monotone coupling is optimal.

    $O((n + m)\log(n + m))$, batched. Equal numbers of equal weights give a bijection, other weights a staircase. The
    value is differentiable in points and weights almost everywhere; potentials come from the same walk.

    Example:
        >>> import torch
        >>> from monge.geometry import Line
        >>> from monge.problem import Linear
        >>> from monge.solver import Sorted
        >>> Sorted()._solve(Linear(Line(torch.tensor([0.0, 1.0]), torch.tensor([3.0, 2.0])))).value
        tensor(4.)

    Source: Santambrogio, Optimal transport for applied mathematicians (2015), chapter 2.
    """

    def supports(self, problem: Linear) -> Capability:
        """Balanced problems without entropy on a line, with a convex power of the distance."""
        if not isinstance(problem, Linear):
            return Capability.no(f"Sorted treats Linear problems, not {type(problem).__name__}.")
        if _on_a_line(problem.geometry) is None:
            return Capability.no("Sorted needs points on a line and a cost |x - y|^p with p >= 1.")
        if problem.entropic:
            return Capability.no("Sorted is exact: it needs epsilon=0.")
        if not problem.balanced or problem.mass is not None:
            return Capability.no("Sorted needs two Fixed marginals; Simplex knows the others.")
        n, m = problem.shape
        cost = 30.0 * math.prod(problem.batch_shape) * (n + m) * math.log2(n + m + 1)
        return Capability(True, cost, f"two sorts and one merge of {n} + {m} points.")

    def _solve(self, problem: Linear) -> DualSolution:
        found = _on_a_line(problem.geometry)
        assert found is not None
        x, y, p = found
        a, b, batch = problem.a, problem.b, problem.batch_shape
        n, m = problem.shape
        x, y = x.expand(*batch, n), y.expand(*batch, m)
        equal = n == m and bool((a == a[..., :1]).all()) and bool((b == b[..., :1]).all())
        mass = a.sum(-1)
        given = (None, None) if equal else (a.detach().expand(*batch, n), b.detach().expand(*batch, m))
        cost = kernels.line_distance(x, y, *given, p)
        with torch.no_grad():
            order_x, order_y = (side.argsort(dim=-1, stable=True) for side in (x, y))
            coupling = staircase_plan(a.expand(*batch, n), b.expand(*batch, m), order_x, order_y, equal)
            f, g = (side.to(a.dtype) for side in kernels.line_potentials(x, y, *given, p))
            f, g = problem._normalised(f, g)
            dual = problem.dual(f, g)
            row, col = coupling.marginals()
            error = ((row - a).abs().sum(-1) + (col - b).abs().sum(-1)) / mass
        # The distance is that of measures of mass one; weights act through the potentials, whatever their mass.
        terms = problem._conjugates(f, g)
        value = mass.detach() * cost + (terms - terms.detach())
        report = Report._make(
            status=Status.OPTIMAL,
            marginal_error=error,
            duality_gap=(value.detach() - dual).clamp_min(0),
            iterations=torch.zeros(batch, dtype=torch.long, device=a.device),
            epsilon=problem.epsilon.detach().expand(batch),
        )
        return DualSolution._make(coupling=coupling, value=value, report=report, f=f, g=g)


def staircase_plan(a: Tensor, b: Tensor, order_x: Tensor, order_y: Tensor, equal: bool = False) -> Coupling:
    """The monotone coupling of two sorted measures, in the original order of the points.

    Args:
        a: (*b, n) weights of the sources.
        b: (*b, m) weights of the targets, of the same mass.
        order_x: (*b, n) the permutation that sorts the sources.
        order_y: (*b, m) the permutation that sorts the targets.
        equal: Whether all weights are equal and n = m, so that the plan is a bijection.
    """
    if equal:
        perm = torch.empty_like(order_x).scatter_(-1, order_x, order_y)
        return PermutationCoupling._make(perm=perm, weights=a)
    i, j, w = kernels.monotone(a.gather(-1, order_x), b.gather(-1, order_y))
    return MonotoneCoupling._make(
        i=order_x.gather(-1, i), j=order_y.gather(-1, j), w=w.to(a.dtype), n=a.shape[-1], m=b.shape[-1]
    )


def _on_a_line(geometry: Geometry) -> tuple[Tensor, Tensor, float] | None:
    """Coordinates and the exponent, if the cost is a convex power of the distance on a line."""
    if isinstance(geometry, Line):
        return geometry.x, geometry.y, float(geometry.p)
    if not isinstance(geometry, PointCloud) or geometry.x.shape[-1] != 1 or callable(geometry.cost):
        return None
    pairs = geometry._points()
    if pairs.kind != "norm" or geometry.cost == "cosine" or pairs.power < 1:
        return None
    return geometry.x[..., 0], geometry.y[..., 0], float(pairs.power)

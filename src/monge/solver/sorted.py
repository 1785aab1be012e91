"""Exact transport on a line, by sorting."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from monge import kernels
from monge._value import value
from monge.coupling import Coupling, MonotoneCoupling, PermutationCoupling
from monge.geometry import Geometry
from monge.problem import Linear
from monge.problem.marginal import column

from ._exact import Exact
from ._sorted_partial import is_partial, partial_plan
from .base import Capability, Case

__all__ = ["Sorted"]


@value
class Sorted(Exact):
    r"""Sorting, for a convex cost of $x - y$ on a line: the monotone coupling is optimal.

    It takes $O((n + m)\log(n + m))$ operations and $O(n + m)$ memory, and is batched. Equal numbers of points with
    equal weights give a bijection, other weights a staircase of at most n + m - 1 pieces. The potentials follow the
    staircase: where it goes to the next row, f changes by the change of the cost, and where it goes to the next column,
    g does. For a convex cost these potentials are feasible, which proves that the plan is optimal. The value is
    differentiable in points and weights almost everywhere, and the staircase in its weights.

    Two kinds of partial problems on a line are solved exactly too: a mass to move between two `AtMost` marginals, and
    total variation at the same price on both sides. The mass that is moved is matched in order; see
    `monge.kernels.partial_plan`.

    Example:
        >>> import torch
        >>> from monge.geometry import Line
        >>> from monge.problem import Linear
        >>> from monge.solver import Sorted
        >>> Sorted()._solve(Linear(Line(torch.tensor([0.0, 1.0]), torch.tensor([3.0, 2.0])))).value
        tensor(4.)

    Source: Santambrogio, Optimal transport for applied mathematicians (2015), chapter 2.
    """

    treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact", "priced", "line"})
    feasible: ClassVar[bool] = True

    def _capability(self, case: Case) -> Capability:
        problem = case.problem
        n, m = problem.shape
        points = math.prod(problem.batch_shape) * (n + m)
        partial = is_partial(problem)
        if not (partial or problem.balanced):
            return Capability.no(
                "Sorted needs two Fixed marginals, a mass between two AtMost, or total variation at one price on both "
                "sides; Simplex knows the others."
            )
        operations = (100.0 if partial else 30.0) * points * math.log2(n + m + 1)
        reason = f"two sorts and one {'pass over' if partial else 'merge of'} {n} + {m} points."
        return Capability(True, operations, reason, (200.0 if partial else 80.0) * points)

    def _optimal(self, problem: Linear, exact: Linear) -> tuple[Coupling, Tensor, Tensor]:
        if is_partial(problem):
            return partial_plan(exact)
        found, batch = problem.geometry._on_line(), problem.batch_shape
        assert found is not None
        n, m = problem.shape
        x, y = (side.detach().expand(*batch, side.shape[-1]) for side in found)
        order_x, order_y = (side.argsort(dim=-1, stable=True) for side in (x, y))
        equal = n == m and _equal(problem.a) and _equal(problem.b)
        if equal:
            # A bijection stays one, to first order, for no change of its weights: there they are constants.
            a = b = exact.a.expand(*batch, n)
            step = torch.arange(2 * n - 1, device=x.device).expand(*batch, 2 * n - 1)
            i, j = order_x.gather(-1, (step + 1) // 2), order_y.gather(-1, step // 2)
        else:
            level = column(exact.target.total / problem.b.detach().double().sum(-1))
            a, b = problem.a.double().expand(*batch, n), (problem.b.double() * level).expand(*batch, m)
        plan = staircase_plan(a, b, order_x, order_y, equal)
        if isinstance(plan, MonotoneCoupling):
            i, j = plan.i, plan.j
        with torch.no_grad():
            return plan, *_potentials(exact.geometry, i, j)


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
    i, j = order_x.gather(-1, i), order_y.gather(-1, j)
    return MonotoneCoupling._make(i=i, j=j, w=w.to(a.dtype), n=a.shape[-1], m=b.shape[-1])


def _potentials(geometry: Geometry, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
    """The potentials along a staircase that visits every row and every column, one step at a time."""
    cost = geometry._entries(i, j)
    rise, row = cost.diff(dim=-1), i.diff(dim=-1) != 0
    along_f = torch.where(row, rise, 0.0).cumsum(-1)
    along_g = torch.where(row, 0.0, rise).cumsum(-1)
    start = torch.zeros_like(cost[..., :1])
    along_f, along_g = cost[..., :1] + torch.cat([start, along_f], -1), torch.cat([start, along_g], -1)
    # Pieces of one row agree on its potential, so that it does not matter which one is written last.
    n, m = geometry.shape
    f = cost.new_empty(*cost.shape[:-1], n).scatter_(-1, i, along_f)
    return f, cost.new_empty(*cost.shape[:-1], m).scatter_(-1, j, along_g)


def _equal(weights: Tensor) -> bool:
    return bool((weights == weights[..., :1]).all())

"""The Wasserstein distance."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import root
from monge._checks import check_clouds, check_number
from monge._users_arrays import takes_arrays
from monge.errors import InputError
from monge.geometry import Circle, CostMatrix, Geometry, Grid, Line, PointCloud, log_reach
from monge.problem import Linear
from monge.problem.epsilon import Relative
from monge.solver import Solution, Solver, warned_solution

from ._gibbs import Costs
from ._units import in_range, rescaled, scaled_epsilon, unit_of

__all__ = ["wasserstein"]

# Exponents of float64 that powers may use, up to sums of a thousand of them.
_ROOM = 1000

# How often a plan is sought again without pairs that are dearer than a plan; two or three times are usual.
_ROUNDS = 12


@takes_arrays
def wasserstein(
    x: Float[Tensor, "*b n d"] | Geometry,
    y: Float[Tensor, "*b m d"] | None = None,
    a: Float[Tensor, "..."] | None = None,
    b: Float[Tensor, "..."] | None = None,
    *,
    p: float = 2.0,
    epsilon: float | Tensor | Relative = 0.0,
    solver: Solver | None = None,
) -> Float[Tensor, "*b"]:
    r"""The p-Wasserstein distance, rooted.

    $$W_p(\mu, \nu) = \Big(\min_P \sum_{ij} P_{ij} \lVert x_i - y_j\rVert_2^p\Big)^{1/p}$$
    For epsilon > 0 this is the root of the transport cost of the entropic plan, which is an upper bound of the exact
    distance (`divergence` has no such bias). Where the distance is zero, its root has no gradient; the gradient is
    defined as zero there, which is a subgradient. Near zero, the gradient of $W_p$ is still large for p > 1, so take
    the p-th power if you need a loss.

    Between histograms, and between pictures, the first argument is a geometry, whose costs are the p-th powers of
    distances: ``wasserstein(Grid((28, 28)), a=first, b=second)``.

    Args:
        x: First clouds, or a geometry that holds both sides.
        y: Second clouds.
        a: Weights (*b, n) of `x`, 1/n each if None; on a `monge.geometry.Grid` they may have its shape, (*b, h, w).
        b: Weights (*b, m) of `y`, of the same mass.
        p: Order, at least 1.
        epsilon: Strength of the entropy, or `relative`; zero is exact.
        solver: How to solve; None chooses.

    Returns:
        One distance per problem; in NumPy, if the clouds or weights are arrays of NumPy.

    Raises:
        InputError: If an argument is wrong; the message says which, why, and what to do. This includes a p that is so
            large that powers of the distances, relative to the largest ones, are outside the range of the dtype.
        InfeasibleError: If the masses differ.

    Example:
        >>> import torch
        >>> import monge
        >>> monge.wasserstein(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor(5.)
    """
    check_number("p", p, low=1.0, high=1e6)
    if isinstance(x, Geometry) or y is None:
        problem = Linear.between(x, y, a, b, epsilon=epsilon)
        _check_powers(problem.geometry, p)
        solution = warned_solution(problem, solver)
        return root(solution.coupling.transport_cost() if problem.entropic else solution.value, p)
    check_clouds(x, y)
    if in_range(x, y, p):
        powers = PointCloud(x, y, "euclidean", power=float(p))
        cost, vanished = _cost(Linear.between(powers, None, a, b, epsilon=epsilon), solver)
        if not vanished:
            return root(cost, p)
    return _in_own_units(x, y, a, b, p, epsilon, solver)


def _check_powers(geometry: Geometry, p: float) -> None:
    """The costs must be p-th powers, as far as the geometry tells: none is negative, and a known power is p."""
    parts = geometry.axes if isinstance(geometry, Grid) else (geometry,)
    for part in parts:
        power = part.p if isinstance(part, (Line, Circle)) else None
        if isinstance(part, PointCloud) and part._is_norm:
            power = part._points().power
        if power is not None and power != p:
            raise InputError(
                f"p must be the power of the costs of this {type(geometry).__name__}, {power:g}, but is {p:g}: "
                f"pass p={power:g}, or make the geometry for p={p:g}."
            )
        if part._may_be_negative() and (least := Costs(part).least) < 0:
            raise InputError(
                f"The costs of the geometry must be powers of distances, but the least one is {least:g}: to minimise "
                "such costs use couple or solve."
            )


def _cost(problem: Linear, solver: Solver | None) -> tuple[Tensor, bool]:
    """The transport cost, and whether powers of positive distances were rounded to zero in some problem."""
    solution = warned_solution(problem, solver)
    if not problem.entropic and _may_hide_digits(problem, solution):
        solution = _without_dear_pairs(problem, solution, solver)
    cost = solution.coupling.transport_cost() if problem.entropic else solution.value
    finite = torch.finfo(cost.dtype)
    tiny = cost.detach().abs() < finite.tiny / finite.eps
    if not bool(tiny.any()):
        return cost, False
    # Sums of absolute values are zero for equal points only.
    cloud = problem.geometry.detach()
    assert isinstance(cloud, PointCloud)
    moved = PointCloud._make(x=cloud.x, y=cloud.y, cost="cityblock", p=2.0, power=None)
    return cost, bool((tiny & (solution.coupling.detach().transport_cost(moved) > 0)).any())


def _may_hide_digits(problem: Linear, solution: Solution) -> bool:
    """Whether the dearest pair may cost so much that float64 rounds the plan's own costs away, by the points alone."""
    cloud, value = problem.geometry.detach(), solution.value.detach().double()
    if cloud._on_line() is not None or not isinstance(cloud, PointCloud):
        return False
    dearest = float(cloud.power or 1.0) * log_reach(cloud.x, cloud.y, 2.0).double()
    hidden = dearest + math.log(torch.finfo(torch.float64).eps) > value.log() + math.log(1e-9)
    return bool((hidden & (value > 0)).any())


def _without_dear_pairs(problem: Linear, solution: Solution, solver: Solver | None) -> Solution:
    """The solution again, without pairs that cost more than a whole plan, as long as they hide digits of the others.

    A pair of an optimal plan that carries mass w costs at most value / w. Powers of a large order spread costs over so
    many decades that potentials of the dearest pairs round the cheap ones away.
    """
    for _ in range(_ROUNDS):
        value = solution.value.detach()
        least = _least_mass(problem) * value.new_ones(())
        bound = (value / least)[..., None, None]
        cost = problem.geometry.dense()
        dear = cost.detach() > bound * (1 + 1e-6)
        hidden = (cost.detach() * torch.finfo(torch.float64).eps > 1e-9 * value[..., None, None]) & dear
        if not bool((hidden & (value > 0)[..., None, None]).any()):
            break
        dear = dear & (value > 0)[..., None, None]
        cheaper = problem._replace(geometry=CostMatrix._make(cost=cost.masked_fill(dear, math.inf)))
        solution, before = warned_solution(cheaper, solver), solution
        if not bool((solution.value.detach() < value).any()):
            return before if bool((solution.value.detach() > value).any()) else solution
    return solution


def _least_mass(problem: Linear) -> Tensor:
    """The least mass that a pair of an optimal plan is taken to carry: 1/n of a bijection, else a billionth of all."""
    if {"square", "uniform"} <= problem.traits:
        return problem.source.total / problem.shape[0]
    return problem.source.total * 1e-9


def _in_own_units(
    x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float, epsilon: Any, solver: Solver | None
) -> Tensor:
    """The distance of clouds whose p-th powers leave the range of numbers: each problem in units of its own.

    Units are powers of two, so that nothing is rounded. Exact plans are computed in float64, with the largest distances
    near the upper end of its range.
    """
    unit, dtype = unit_of(x, y), x.dtype
    first, second = (rescaled(points, -unit[..., None, None]) for points in (x, y))
    powers = PointCloud(first, second, "euclidean", power=float(p))
    problem = Linear.between(powers, None, a, b, epsilon=scaled_epsilon(epsilon, unit, p, dtype))
    if not problem.entropic:
        unit = unit - math.floor(_ROOM / max(p, 2.0))  # lengths are roots of squares
        first, second = (rescaled(points.double(), -unit[..., None, None]) for points in (x, y))
        cloud = PointCloud(first, second, "euclidean", power=float(p))
        problem = problem._make(**problem.to(torch.float64)._contents() | {"geometry": cloud})
    cost, vanished = _cost(problem, solver)
    distance = rescaled(root(cost, p).double(), unit).to(dtype)
    if vanished or not bool(distance.isfinite().all()):
        raise InputError(
            f"The distances that mass moves over, relative to the largest ones and raised to the power p={p:g}, are "
            f"outside the range of {str(cost.dtype).removeprefix('torch.')}, or the distance itself is outside that of "
            f"{str(dtype).removeprefix('torch.')}: lower p, or use float64."
        )
    return distance

"""What approximate solvers share: a lower bound of the optimum from a sample, and a report that measures the plan."""

from __future__ import annotations

import math
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor

from monge.coupling import Coupling
from monge.errors import InputError
from monge.geometry import CostMatrix, Geometry, LowRankCost, PointCloud
from monge.problem import Fixed, Linear, SparseLinear
from monge.problem.marginal import pairing

from .base import Capability, Case
from .sinkhorn import Sinkhorn
from .solution import DualSolution, Report, Status

# The bound starts from entropic potentials of so many points a side, at this share of the spread of their costs: a
# smaller epsilon follows the sample and not the clouds, a larger one blurs them.
_SAMPLE, _SHARE = 2048, 0.05
P = TypeVar("P", Linear, SparseLinear)

# What of a gap is rounding, as for exact solvers.
_ROUNDING = 1e-9

__all__ = [
    "able",
    "check_weights_constant",
    "each_problem",
    "mass_refused",
    "measured",
    "sampled_potentials",
    "stacked",
]


def mass_refused(name: str, case: Case) -> Capability | None:
    """The refusal of a problem with a mass, which these solvers do not treat."""
    if case.problem.mass is None:
        return None
    return Capability.no(f"{name} needs two Fixed marginals and no mass.")


def able(name: str, operations: float, memory: float) -> Capability:
    """The capability of a solver that is never chosen, since its plan is not optimal."""
    why = f"approximate, in about {operations:.0e} operations; never chosen: ask with solver={name}."
    return Capability(True, math.inf, why, memory)


def each_problem(problem: P) -> list[P]:
    """The problems of a batch, one by one."""
    batch = problem.batch_shape
    if not batch:
        return [problem]
    return [problem._select(index) for index in product(*(range(size) for size in batch))]


@torch.no_grad()
def sampled_potentials(problem: Linear, seed: int) -> tuple[Tensor, Tensor]:
    """Potentials (n,) and (m,) of one problem without entropy, feasible up to rounding, in memory O(n + m).

    Entropic potentials of a sample of both sides are extended to all columns by a soft c-transform, and one streamed
    pass over all pairs gives the largest potential of the rows that is feasible with them. Whatever the sample was,
    the dual value of this pair is a lower bound of the optimum.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, a = _sample(problem.a, generator)
    columns, b = _sample(problem.b, generator)
    among = _some_rows(problem.geometry, rows)
    both = _some_rows(among.T, columns).T
    cost = both._block(slice(0, 256))
    spread = float((cost - cost.mean()).abs().mean()) if bool(cost.isfinite().all()) else math.nan
    g = torch.zeros_like(problem.b)
    if spread > 1e-6 * float(cost.abs().max()):
        small = Linear(both, Fixed(a), Fixed(b), epsilon=_SHARE * spread)
        found = Sinkhorn(tol=1e-2, max_iter=200, accelerate=False)._solve(small)
        f = found.f.to(problem.a.dtype)
        # A constant drops out of the dual value; without it numbers stay small.
        g = among.T._softmin(f, a.log(), small.epsilon).to(g.dtype)
    f, _ = problem.geometry._ctransform(torch.where(problem.b > 0, g, -math.inf))
    return problem._normalised(f.to(g.dtype), g)


def _sample(weights: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of points and their weights: all of them if they are few, or drawn by their weights."""
    present = (weights > 0).nonzero()[:, 0]
    if len(present) <= _SAMPLE:
        return present, weights[present]
    below = weights.double().cumsum(0)
    level = torch.rand(_SAMPLE, generator=generator, dtype=torch.float64).to(below.device) * below[-1]
    chosen = torch.searchsorted(below, level).clamp_max(len(below) - 1)
    return chosen, torch.full_like(weights[:_SAMPLE], float(weights.sum()) / _SAMPLE)


def _some_rows(geometry: Geometry, rows: Tensor) -> Geometry:
    """The costs of some rows: of points they are those of fewer points."""
    if isinstance(geometry, PointCloud):
        return geometry._replace(x=geometry.x[..., rows, :])
    if isinstance(geometry, LowRankCost):
        return geometry._replace(A=geometry.A[..., rows, :])
    return CostMatrix._make(cost=geometry._block(rows))


@torch.no_grad()
def _rounding_of_costs(problem: Linear, f: Tensor, g: Tensor) -> Tensor:
    """A bound of the error of computed costs and potentials, (*b,), by which f is lowered before it proves anything.

    Sums of d products err by less than d + 8 roundings of the sum of their sizes. Where squared distances are expanded
    these sizes are squares of the distances from the centre; a factor of a cost that has two has those of the products.
    """
    geometry, unit = problem.geometry, torch.finfo(problem.a.dtype).eps
    size = f.abs().amax(-1) + g.abs().amax(-1)
    terms = 1
    factors = geometry._factors()
    if factors is not None:
        left, right = factors
        terms = left.shape[-1]
        size = size + left.abs().norm(dim=-1).amax(-1) * right.abs().norm(dim=-1).amax(-1)
    elif isinstance(geometry, PointCloud):
        terms = geometry.x.shape[-1]
        size = size * (1 + (geometry.power or 1.0))
    return (terms + 8) * unit * size


def check_weights_constant(problem: Linear) -> None:
    """Weights must not ask for a derivative, which these values do not have."""
    if torch.is_grad_enabled() and (problem.a.requires_grad or problem.b.requires_grad):
        raise InputError(
            "The value of an approximate plan is not differentiated by weights, but a or b requires a gradient: detach "
            "them, or use an exact or entropic solver."
        )


def measured(
    problem: Linear, coupling: Coupling, f: Tensor, g: Tensor, iterations: Tensor, cost: Tensor | None = None
) -> DualSolution:
    """The solution: the value is the cost of the plan, and the gap is measured against the potentials.

    Args:
        problem: The problem, without entropy.
        coupling: A plan of its marginals; this is measured.
        f: (*b, n) potential of the rows, feasible up to rounding, which is taken off here.
        g: (*b, m) potential of the columns.
        iterations: (*b,) how often the method iterated.
        cost: The cost of the plan, if it is known.
    """
    batch, dtype = problem.batch_shape, problem.geometry.dtype
    check_weights_constant(problem)
    value = (coupling._inner(problem.geometry) if cost is None else cost).expand(batch)
    with torch.no_grad():
        constant = problem.detach()
        row, col = coupling.detach().marginals()
        a, b = constant.a.double(), constant.b.double()
        mass = a.sum(-1)
        error = ((row.double() - a).abs().sum(-1) + (col.double() - b).abs().sum(-1)) / mass
        slack = _rounding_of_costs(constant, f, g).double()
        bound = pairing(a, f.double()) + pairing(b, torch.where(constant.b > 0, g, 0).double()) - mass * slack
        gap = (value.detach().double() - bound).clamp_min(0)
        scale = pairing(a, f.double().abs()) + pairing(b, torch.where(constant.b > 0, g, 0).double().abs())
        optimal = gap <= _ROUNDING * scale + mass * slack
        blur = 64 * torch.finfo(problem.a.dtype).eps + 1e-17 * sum(problem.shape)
        met = error <= blur
        status = Status.OPTIMAL if bool(optimal.all()) else Status.APPROXIMATE
        report = Report._make(
            status=status if bool(met.all()) else Status.PRECISION,
            marginal_error=error.to(dtype).expand(batch),
            duality_gap=gap.to(dtype).expand(batch),
            iterations=iterations.expand(batch),
            epsilon=constant.epsilon.expand(batch),
        )
    f, g = f.to(dtype).expand(*batch, -1), g.to(dtype).expand(*batch, -1)
    return DualSolution._make(coupling=coupling, value=value, report=report, problem=problem, f=f, g=g)


def stacked(parts: list[Tensor], batch: torch.Size) -> Tensor:
    """Answers of the problems of a batch, one a problem, as one tensor."""
    return torch.stack(parts).reshape((*batch, *parts[0].shape))

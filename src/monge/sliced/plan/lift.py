"""Plans that slices induce: lifted, averaged, or the best one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import (
    check_choice,
    check_finite,
    check_floating,
    check_number,
    check_same,
    check_weights,
)
from monge._transforms import transformable
from monge.coupling import (
    Coupling,
    GluedCoupling,
    MixtureCoupling,
    SparseCoupling,
)
from monge.errors import ShapeError
from monge.geometry import Geometry, PointCloud
from monge.solver.sorted import staircase_plan

from .._clouds import aligned, together
from ..slicer import Slicer

__all__ = ["best_sliced_plan", "expected_sliced_plan", "lifted_plans", "monotone_plan"]


@transformable
def monotone_plan(
    u: Float[Tensor, "*b n"],
    v: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    ties: str = "spread",
) -> Coupling:
    """The monotone coupling of two lists of scores, as a plan between the points that have them.

    Equal numbers of equal weights give a bijection, other weights a staircase of n + m pieces. Equal scores are one
    atom, whose plan is spread in proportion to the weights, so that the order of the points never matters; the plan is
    then glued through the atoms. ``ties="order"`` breaks ties by position instead.

    Args:
        u: Scores of the sources, unique up to an increasing map: only their order counts.
        v: Scores of the targets.
        a: Non-negative weights, None for equal ones of mass one.
        b: The same for the targets, of the same mass.
        ties: ``"spread"`` or ``"order"``.

    Returns:
        A plan with marginals a and b, of batch shape *b.

    Example:
        >>> import torch
        >>> monotone_plan(torch.tensor([3.0, 1.0]), torch.tensor([0.0, 5.0])).assignment()
        tensor([1, 0])
    """
    check_choice("ties", ties, ("spread", "order"))
    check_scores("u", u)
    check_scores("v", v)
    check_same(u=u, v=v, a=a, b=b)
    for name, weights, count in (("a", a, u.shape[-1]), ("b", b, v.shape[-1])):
        if weights is not None:
            check_weights(name, weights, count)
    batch = together(u=u.shape[:-1], v=v.shape[:-1], a=_batch(a), b=_batch(b))
    u, v = u.detach().expand(*batch, -1), v.detach().expand(*batch, -1)
    sorted_u, order_u = u.sort(dim=-1, stable=True)
    sorted_v, order_v = v.sort(dim=-1, stable=True)
    tied = ties == "spread" and any(bool((s.diff(dim=-1) == 0).any()) for s in (sorted_u, sorted_v))
    n, m = u.shape[-1], v.shape[-1]
    if n == m and a is None and b is None and not tied:
        weights = u.new_full((*batch, n), 1.0 / n)
        return staircase_plan(weights, weights, order_u, order_v, equal=True)
    a = u.new_full((n,), 1.0 / n) if a is None else a
    b = v.new_full((m,), 1.0 / m) if b is None else b
    a, b = a.expand(*batch, n), b.expand(*batch, m)
    if not tied:
        return staircase_plan(a, b, order_u, order_v)
    atom_u, atom_v = _atoms(sorted_u, order_u), _atoms(sorted_v, order_v)
    mass_u = torch.zeros_like(a).scatter_add(-1, atom_u, a)
    mass_v = torch.zeros_like(b).scatter_add(-1, atom_v, b)
    places_u, places_v = (torch.arange(k, device=u.device).expand(*batch, k) for k in (n, m))
    into = SparseCoupling._make(i=places_u, j=atom_u, w=a, n=n, m=n)
    out = SparseCoupling._make(i=atom_v, j=places_v, w=b, n=m, m=m)
    between = staircase_plan(mass_u, mass_v, places_u, places_v)
    return GluedCoupling._make(P=GluedCoupling._make(P=into, Q=between, mu=mass_u), Q=out, mu=mass_v)


def _batch(weights: Tensor | None) -> tuple[int, ...]:
    return () if weights is None else weights.shape[:-1]


def check_scores(name: str, scores: Tensor) -> None:
    """``scores`` must be finite numbers, (*b, n), n >= 1."""
    check_floating(name, scores)
    if scores.ndim < 1 or scores.shape[-1] == 0:
        raise ShapeError(f"{name} must have shape (*batch, n), n >= 1, but has {tuple(scores.shape)}.")
    check_finite(name, scores)


def _atoms(ordered: Tensor, order: Tensor) -> Tensor:
    """For each point, the rank of its atom: equal scores share one."""
    fresh = torch.cat([torch.zeros_like(order[..., :1]), (ordered.diff(dim=-1) != 0).long()], -1).cumsum(-1)
    return torch.empty_like(order).scatter_(-1, order, fresh)


@transformable
def lifted_plans(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: Slicer,
    ties: str = "spread",
) -> Coupling:
    """The plan of every slice, lifted back to the points: a coupling with one more batch dimension.

    Args:
        x: Sources.
        y: Targets.
        a: Their weights, equal of mass one if None.
        b: The same for the targets.
        slicer: The slices.
        ties: See `monotone_plan`.

    Returns:
        A coupling of batch shape (*b, L).

    Raises:
        ShapeError: Clouds of different dimension.

    Example:
        >>> import torch
        >>> from monge.sliced import Linear
        >>> x = torch.tensor([[3.0, 3.0], [1.0, 1.0]]); y = torch.tensor([[2.0, 2.5], [3.0, 2.0]])
        >>> lifted_plans(x, y, slicer=Linear(torch.eye(2))).shape
        torch.Size([2, 2, 2])
    """
    x, y, a, b, _ = aligned(x, y, a, b, slicer=slicer)
    near = slicer._prepared(x.detach(), y.detach())
    u, v = (slicer._coordinates(side, slice(None)) for side in near)
    given = [None if weight is None else weight.to(u.dtype).unsqueeze(-2) for weight in (a, b)]
    plans = monotone_plan(u, v, *given, ties=ties)
    return plans if u.dtype == x.dtype else plans.to(x.dtype)


def slice_costs(plans: Coupling, geometry: Geometry) -> Float[Tensor, "*b slices"]:
    """The cost in the space of the points of every lifted plan, differentiable in the points."""
    entries = plans._entries()
    if entries is None:
        return torch.stack([plans[..., k]._inner(geometry) for k in range(plans.batch_shape[-1])], -1)
    i, j, w = entries
    cost = geometry._entries(i.flatten(-2), j.flatten(-2)).unflatten(-1, i.shape[-2:])
    return torch.where(w > 0, w * cost, 0).sum(-1)


@transformable
def expected_sliced_plan(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: Slicer,
    inverse_temperature: float = 0.0,
    cost: str = "sqeuclidean",
    ties: str = "spread",
) -> MixtureCoupling:
    r"""Expected sliced transport: the average of the lifted plans, the cheaper ones weighing more.

    $$\sum_l \sigma_l\,\gamma_{\theta_l}, \qquad \sigma_l \propto e^{-\tau D(\theta_l)}, \qquad
    D(\theta) = \langle C, \gamma_\theta\rangle.$$
    Exact marginals; applying it costs one gather per slice and no matrix. $\tau = 0$ is the plain mean, whose cost is a
    metric in the limit of all directions; $\tau \to \infty$ the best slice. The weights, and with them the plan, are
    differentiable in the points.

    Args:
        x: Sources.
        y: Targets.
        a: Their weights, equal of mass one if None.
        b: The same for the targets.
        slicer: The slices.
        inverse_temperature: tau >= 0, in units of one over the mean cost of the slices.
        cost: Of `PointCloud`.
        ties: See `monotone_plan`.

    Source:
        Liu et al., Expected sliced transport plans (arXiv 2410.12176).

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> from monge.sliced import Linear, expected_sliced_plan
        >>> x = torch.tensor([[3.0, 3.0], [1.0, 1.0]]); y = torch.tensor([[2.0, 2.5], [3.0, 2.0]])
        >>> P = expected_sliced_plan(x, y, slicer=Linear(torch.eye(2)))
        >>> P.transport_cost(PointCloud(x, y))
        tensor(2.6250)
    """
    check_number("inverse_temperature", inverse_temperature, low=0.0)
    plans = lifted_plans(x, y, a, b, slicer=slicer, ties=ties)
    costs = slice_costs(plans, PointCloud(x, y, cost))
    unit = costs.mean(-1, keepdim=True).clamp_min(torch.finfo(costs.dtype).tiny)
    weights = (-inverse_temperature * costs / unit).softmax(-1)
    return MixtureCoupling._make(component=plans, weights=weights)


@transformable
def best_sliced_plan(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: Slicer,
    cost: str = "sqeuclidean",
    ties: str = "spread",
) -> Coupling:
    """The cheapest of the lifted plans: an upper bound of optimal transport, with exact marginals, in a few sorts.

    Args:
        x: Sources.
        y: Targets.
        a: Their weights, equal of mass one if None.
        b: The same for the targets.
        slicer: The slices to choose from; see `search_direction` for a good one.
        cost: Of `PointCloud`.
        ties: See `monotone_plan`.

    Source:
        Mahey et al., Fast optimal transport through sliced generalized Wasserstein geodesics (arXiv 2307.01770).

    Example:
        >>> import torch
        >>> from monge.sliced import Linear
        >>> x = torch.tensor([[3.0, 3.0], [1.0, 1.0]]); y = torch.tensor([[2.0, 2.5], [3.0, 2.0]])
        >>> best_sliced_plan(x, y, slicer=Linear(torch.eye(2))).assignment()
        tensor([1, 0])
    """
    plans = lifted_plans(x, y, a, b, slicer=slicer, ties=ties)
    with torch.no_grad():
        best = slice_costs(plans, PointCloud(x, y, cost)).argmin(-1)
    return chosen(plans, best)


def chosen(plans: Coupling, best: Tensor) -> Coupling:
    """Of plans of batch shape (*b, L), the one at ``best`` (*b,) of every problem."""
    if best.ndim == 0:
        return plans[int(best)]
    grid = torch.meshgrid(*(torch.arange(size, device=best.device) for size in best.shape), indexing="ij")
    return plans[(*grid, best)]

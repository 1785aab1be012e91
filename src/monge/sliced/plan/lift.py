"""Plans that are made from slices: one for each slice, their mean, or the best one."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import check_choice, check_number
from monge._users_arrays import takes_arrays
from monge.coupling import Coupling, GluedCoupling, MixtureCoupling, SparseCoupling
from monge.geometry import Geometry, PointCloud
from monge.solver.sorted import staircase_plan

from .._aligned_clouds import aligned, equal_unless, on_a_line
from ..slicer import Slicer

__all__ = ["best_sliced_plan", "expected_sliced_plan", "lifted_plans", "monotone_plan"]


@takes_arrays
def monotone_plan(
    u: Float[Tensor, "*b n"],
    v: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    ties: str = "spread",
) -> Coupling:
    """The monotone coupling of two lists of scores, as a plan between the points that have them.

    Equal numbers of points with equal weights give a bijection, other weights a staircase of n + m pieces. Points of
    equal scores share their mass in proportion to their weights, so that the order of the points never matters; the
    plan is then a gluing through the different scores. With ``ties="order"``, points of equal scores keep their order
    in the tensor instead.

    Args:
        u: Scores of the sources; only their order matters.
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
    u, v, a, b = on_a_line(u.detach(), v.detach(), a, b, names=("u", "v"))
    dtype, wide = u.dtype, working_dtype(u)
    (ordered_u, order_u), (ordered_v, order_v) = u.sort(dim=-1, stable=True), v.sort(dim=-1, stable=True)
    tied = ties == "spread" and any(bool((s.diff(dim=-1) == 0).any()) for s in (ordered_u, ordered_v))
    bijection = u.shape[-1] == v.shape[-1] and a is None and b is None
    # Weights of half precision would not sum to one mass.
    a, b = equal_unless(a, u.to(wide)).to(wide), equal_unless(b, v.to(wide)).to(wide)
    if not tied:
        return in_dtype(dtype, staircase_plan(a, b, order_u, order_v, equal=bijection))
    into, out = _onto_atoms(ordered_u, order_u, a), _onto_atoms(ordered_v, order_v, b)
    mass_u, mass_v = (torch.zeros_like(held.w).scatter_add(-1, held.j, held.w) for held in (into, out))
    first = GluedCoupling._make(P=into, Q=staircase_plan(mass_u, mass_v, into.i, out.i), mu=mass_u)
    return in_dtype(dtype, GluedCoupling._make(P=first, Q=out._transpose(), mu=mass_v))


def in_dtype(dtype: torch.dtype, plans: Coupling) -> Coupling:
    """The plans in the dtype of the points that they were made from."""
    return plans if plans.dtype == dtype else plans.to(dtype)


def _onto_atoms(ordered: Tensor, order: Tensor, weights: Tensor) -> SparseCoupling:
    """Every point with its atom: equal scores share one, which is called by its rank."""
    fresh = torch.cat([torch.zeros_like(order[..., :1]), (ordered.diff(dim=-1) != 0).long()], -1).cumsum(-1)
    n, atom = order.shape[-1], torch.empty_like(order).scatter_(-1, order, fresh)
    return SparseCoupling._make(i=torch.arange(n, device=order.device).expand_as(order), j=atom, w=weights, n=n, m=n)


@takes_arrays
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
        a: Weights of the sources, equal and of mass one if None.
        b: The same for the targets.
        slicer: The slices.
        ties: See `monotone_plan`.

    Returns:
        A coupling of batch shape (*b, L).

    Raises:
        ShapeError: Clouds of different dimension.

    Example:
        >>> import torch
        >>> from monge.sliced import LinearSlicer
        >>> x = torch.tensor([[3.0, 3.0], [1.0, 1.0]]); y = torch.tensor([[2.0, 2.5], [3.0, 2.0]])
        >>> lifted_plans(x, y, slicer=LinearSlicer(torch.eye(2))).shape
        torch.Size([2, 2, 2])
    """
    lines = slicer._projected(aligned(x, y, a, b, slices=slicer._batch))
    return in_dtype(x.dtype, monotone_plan(*lines, ties=ties))


def slice_costs(plans: Coupling, geometry: Geometry) -> Float[Tensor, "*b slices"]:
    """The cost in the space of the points of every lifted plan, differentiable in the points."""
    entries = plans._entries()
    if entries is None:
        return torch.stack([plans[..., k]._inner(geometry) for k in range(plans.batch_shape[-1])], -1)
    i, j, w = entries
    cost = geometry._entries(i.flatten(-2), j.flatten(-2)).unflatten(-1, i.shape[-2:])
    return torch.where(w > 0, w * cost, 0).sum(-1)


@takes_arrays
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
    It has exact marginals. A product with it takes one gather per slice and no matrix. With $\tau = 0$ it is the plain
    mean, whose cost is a metric in the limit of all directions; for $\tau \to \infty$ it is the plan of the best slice.
    The weights, and therefore the plan, are differentiable in the points.

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
        Liu, Diaz Martin, Bai, Shahbazi, Thorpe, Aldroubi, Kolouri, Expected sliced transport plans (arXiv 2410.12176).

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> from monge.sliced import LinearSlicer, expected_sliced_plan
        >>> x = torch.tensor([[3.0, 3.0], [1.0, 1.0]]); y = torch.tensor([[2.0, 2.5], [3.0, 2.0]])
        >>> P = expected_sliced_plan(x, y, slicer=LinearSlicer(torch.eye(2)))
        >>> P.transport_cost(PointCloud(x, y))
        tensor(2.6250)
    """
    check_number("inverse_temperature", inverse_temperature, low=0.0)
    plans = lifted_plans(x, y, a, b, slicer=slicer, ties=ties)
    costs = slice_costs(plans, PointCloud(x, y, cost))
    return MixtureCoupling._make(component=plans, weights=slice_weights(costs, inverse_temperature))


def slice_weights(costs: Float[Tensor, "*b slices"], inverse_temperature: float) -> Float[Tensor, "*b slices"]:
    """The weight of every lifted plan by its cost; at an infinite inverse temperature only the cheapest has one."""
    if math.isinf(inverse_temperature):
        return torch.zeros_like(costs).scatter_(-1, costs.detach().argmin(-1, keepdim=True), 1.0)
    unit = costs.mean(-1, keepdim=True).clamp_min(torch.finfo(costs.dtype).tiny)
    return (-inverse_temperature * costs / unit).softmax(-1)


@takes_arrays
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
        >>> from monge.sliced import LinearSlicer
        >>> x = torch.tensor([[3.0, 3.0], [1.0, 1.0]]); y = torch.tensor([[2.0, 2.5], [3.0, 2.0]])
        >>> best_sliced_plan(x, y, slicer=LinearSlicer(torch.eye(2))).assignment()
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

"""The search for the direction whose plan is cheapest."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from monge._checks import check_batches, check_choice, check_number
from monge._users_arrays import takes_arrays
from monge.errors import InputError
from monge.geometry import PointCloud

from .._aligned_clouds import Clouds, aligned, centred, gathered, noise, picked
from ..directions import directions_for
from ..laws import with_shift
from ..slicer import STRAIGHT, LinearSlicer
from .lift import lifted_plans, slice_costs

__all__ = ["search_direction"]


@takes_arrays
@torch.no_grad()
def search_direction(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    method: str = "stein",
    steps: int = 60,
    samples: int = 32,
    cost: str = "sqeuclidean",
    start: Float[Tensor, "*b d"] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "*b d"], Float[Tensor, "*b"]]:
    r"""A direction whose lifted plan is cheap: $\min_\theta \langle C, \gamma_\theta\rangle$.

    The cost of a lifted plan jumps where two projections cross, so it has no useful gradient of its own.
    ``"stein"`` minimises the cost after smoothing by a Gaussian, whose gradient needs only values of the cost,
    $\nabla D_\epsilon(\theta) \approx \mathbb{E}[(D(\theta + \epsilon z) - D(\theta - \epsilon z)) z] / 2\epsilon$;
    ``"replicas"`` sorts noisy copies of the projections and averages the matched midpoints over them, which gives the
    squared cost a gradient along the line of midpoints (it needs equal numbers of points of equal weights);
    ``"annealing"`` makes random steps and accepts worse directions less and less often; ``"random"`` takes the best of
    ``steps * samples`` random directions. The best direction of all steps is returned, so that more steps never make
    the result worse.

    Args:
        x: Sources.
        y: Targets.
        a: Their weights, equal if None.
        b: The same for the targets.
        method: One of the four methods.
        steps: Number of steps of the search.
        samples: Number of directions that are tried at every step, or of noisy copies of every point.
        cost: Of `PointCloud`.
        start: A direction to start from, for example that of a similar pair of clouds. None starts from the difference
            of the means, the principal axes and random directions.
        generator: Source of randomness.

    Returns:
        The direction and the cost of its plan.

    Source:
        Mahey et al., Fast optimal transport through sliced generalized Wasserstein geodesics (arXiv 2307.01770),
        annealing and replicas; Chapel, Tavenard, Vaiter, Differentiable generalized sliced Wasserstein plans (arXiv
        2505.22049), Stein smoothing.

    Example:
        >>> import torch
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.randn(40, 5, generator=g); y = torch.linspace(0, 1, 40)[:, None] * torch.eye(5)[2]
        >>> theta, _ = search_direction(x, y, generator=g)  # y lies on a line: its direction is the best slice
        >>> bool(theta[2].abs() > 0.9)
        True
    """
    check_choice("method", method, _WAYS)
    check_number("steps", steps, low=0)
    check_number("samples", samples, low=1)
    clouds = aligned(x, y, a, b).map(Tensor.detach)
    if method == "replicas":
        _check_midpoints(clouds, cost)
    near = STRAIGHT._prepared(clouds)
    search = _Search(near, PointCloud(near.x, near.y, cost), samples, generator)
    theta, lowest = _WAYS[method](search, search.cheapest(search.starts(start)), steps)
    return theta.to(x.dtype), lowest.to(x.dtype)


def _check_midpoints(clouds: Clouds, cost: str) -> None:
    """Midpoints of matched points stand for a squared cost and a bijection."""
    x, y, a, b = clouds
    n, m = x.shape[-2], y.shape[-2]
    if cost != "sqeuclidean" or n != m or a is not None or b is not None:
        raise InputError(
            f"method='replicas' needs cost='sqeuclidean' and equal numbers of points of equal weights, but got "
            f"{cost!r} with {n} and {m} points: use method='stein'."
        )


class _Found(NamedTuple):
    """Directions and the costs of their plans, one for every problem."""

    theta: Tensor  # (*b, d)
    cost: Tensor  # (*b,)

    def where(self, taken: Tensor, other: _Found) -> _Found:
        """These where they are taken, elsewhere the others."""
        return _Found(torch.where(taken[..., None], self.theta, other.theta), torch.where(taken, self.cost, other.cost))

    def or_cheaper(self, other: _Found) -> _Found:
        """These, unless the others are cheaper."""
        return other.where(other.cost < self.cost, self)


class _Search(NamedTuple):
    """Clouds, and what is tried on them. What is drawn is drawn once for all problems: none depends on others."""

    clouds: Clouds
    geometry: PointCloud
    samples: int
    generator: torch.Generator | None

    def starts(self, given: Tensor | None) -> Tensor:
        """The direction that was given, or the difference of the means, the principal axes and random directions."""
        if given is None:
            return torch.cat([self.landmarks(), self.drawn()], -2)
        *batch, _, d = self.clouds.x.shape
        check_batches(start=given.shape[:-1], clouds=tuple(batch))
        return normalize(given.detach().to(self.clouds.x.dtype).expand(*batch, d), dim=-1)[..., None, :]

    def costs(self, theta: Tensor) -> Tensor:
        plans = lifted_plans(*self.clouds, slicer=LinearSlicer(theta), ties="order")
        return slice_costs(plans, self.geometry)

    def cheapest(self, tried: Tensor) -> _Found:
        return _cheapest(tried, self.costs(tried))

    def drawn(self) -> Tensor:
        drawn = directions_for(self.clouds.x, self.samples, self.generator)
        return drawn.expand(*self.clouds.x.shape[:-2], *drawn.shape)

    def noise(self, *shape: int) -> Tensor:
        return noise(shape, self.generator, self.clouds.x)

    def landmarks(self) -> Tensor:
        """The difference of the means, and the principal axes of both clouds."""
        x, y, a, b = self.clouds
        (mean_x, first), (mean_y, second) = centred(x, a), centred(y, b)
        axes = [torch.linalg.eigh(root.mT @ root).eigenvectors.mT[..., -3:, :].flip(-2) for root in (first, second)]
        return with_shift(mean_x - mean_y, torch.cat(axes, -2))


def _cheapest(tried: Tensor, costs: Tensor) -> _Found:
    k = costs.argmin(-1)
    return _Found(picked(tried, k), picked(costs, k))


def _random(search: _Search, best: _Found, steps: int) -> _Found:
    for _ in range(steps):
        best = best.or_cheaper(search.cheapest(search.drawn()))
    return best


def _annealing(search: _Search, best: _Found, steps: int) -> _Found:
    here = best
    for step in range(steps):
        left = 1 - step / steps
        tried = here.theta[..., None, :] + (0.5 * left + 0.02) * search.noise(search.samples, best.theta.shape[-1])
        one = search.cheapest(normalize(tried, dim=-1))
        best = best.or_cheaper(one)
        worse = (one.cost - here.cost) / best.cost.clamp_min(1e-30)
        luck = float(torch.rand((), generator=search.generator, dtype=torch.float64))
        here = one.where((worse <= 0) | (luck < torch.exp(-worse / (0.05 * left + 1e-6))), here)
    return best


# The gradient of the cost at directions, made smooth at a width between one and zero, and the cheapest that was seen.
_Smoothed = Callable[[_Search, Tensor, float], tuple[Tensor, _Found]]


def _descent(search: _Search, best: _Found, steps: int, smoothed: _Smoothed) -> _Found:
    """Adam with the norm of the whole vector: a direction has no preferred axes."""
    theta = best.theta
    moment, square = torch.zeros_like(theta), torch.zeros_like(theta[..., :1])
    for step in range(steps):
        gradient, seen = smoothed(search, theta, 1 - 0.8 * step / steps)
        best = best.or_cheaper(seen)
        moment = 0.8 * moment + 0.2 * gradient
        square = 0.95 * square + 0.05 * gradient.square().sum(-1, keepdim=True)
        size = 0.3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        theta = normalize(theta - size * moment / square.sqrt().clamp_min(1e-30), dim=-1)
    return best.or_cheaper(search.cheapest(theta[..., None, :]))


def _stein(search: _Search, theta: Tensor, width: float) -> tuple[Tensor, _Found]:
    """By values alone, of the cost under a Gaussian."""
    z = search.noise(max(1, search.samples // 2), theta.shape[-1])
    shift = 0.1 * width * z
    tried = normalize(theta[..., None, :] + torch.cat([shift, -shift]), dim=-1)
    costs = search.costs(tried)
    up, down = costs.chunk(2, -1)
    return ((up - down)[..., None] * z).mean(-2) / (0.2 * width), _cheapest(tried, costs)


def _replicas(search: _Search, theta: Tensor, width: float) -> tuple[Tensor, _Found]:
    r"""Of $2 W^2(X, Z) + 2 W^2(Y, Z) - 4 W^2(M, Z)$, along the sphere.

    Z are the midpoints of the sorted projections, on the line; M the midpoints of matched points. With M from a hard
    sort this is the cost itself, whatever Z, and has no gradient; with M averaged over noisy sorts it has one.
    """
    middle = _noisy_midpoints(search, theta, 0.2 * width)
    axis = theta.detach().requires_grad_()
    with torch.enable_grad():
        (u, x), (v, y) = (_in_order(points, axis) for points in search.clouds[:2])
        line = ((u + v) / 2)[..., None] * axis[..., None, :]
        to_x, to_y, to_middle = ((points - line).square().sum(-1).mean(-1) for points in (x, y, middle))
        (gradient,) = torch.autograd.grad((2 * to_x + 2 * to_y - 4 * to_middle).sum(), axis)
    return gradient - (gradient * theta).sum(-1, keepdim=True) * theta, search.cheapest(theta[..., None, :])


def _noisy_midpoints(search: _Search, theta: Tensor, width: float) -> Tensor:
    """The mean midpoints of points that are matched in noisy sorts, in their order along a direction."""
    clouds, copies = search.clouds[:2], search.samples
    places = [(points @ theta[..., None])[..., 0] for points in clouds]
    spread = width * torch.cat(places, -1).std(-1, keepdim=True)
    matched = []
    for place, points in zip(places, clouds, strict=True):
        n = place.shape[-1]
        rank = (place[..., None, :] + spread[..., None] * search.noise(copies, n)).flatten(-2).argsort(-1) % n
        matched.append(gathered(points, rank).unflatten(-2, (n, copies)).mean(-2))
    return _in_order((matched[0] + matched[1]) / 2, theta)[1]


def _in_order(points: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Projections on a direction, sorted, and the points in their order."""
    places = (points @ theta[..., None])[..., 0]
    order = places.argsort(-1)
    return places.gather(-1, order), gathered(points, order)


_WAYS = {
    "stein": partial(_descent, smoothed=_stein),
    "replicas": partial(_descent, smoothed=_replicas),
    "annealing": _annealing,
    "random": _random,
}

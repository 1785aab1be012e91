"""Looking for the direction whose plan is cheapest."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_choice, check_number
from monge._transforms import transformable
from monge.errors import InputError
from monge.geometry import PointCloud

from .._clouds import aligned, picked, together
from ..directions import directions
from ..laws import moments
from ..slicer import Linear
from .lift import lifted_plans, slice_costs

__all__ = ["search_direction"]

_METHODS = ("stein", "replicas", "annealing", "random")


@transformable
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
    ``"stein"`` descends the cost smoothed by a Gaussian, whose gradient needs values only,
    $\nabla D_\epsilon(\theta) \approx \mathbb{E}[(D(\theta + \epsilon z) - D(\theta - \epsilon z)) z] / 2\epsilon$;
    ``"replicas"`` sorts noisy copies of the projections and averages the matched midpoints over them, which gives the
    squared cost a slope along the line of midpoints (equal numbers of equal weights); ``"annealing"`` walks randomly
    and accepts worse directions less and less often; ``"random"`` takes the best of ``steps * samples`` draws. The best
    direction ever seen is returned, so more effort never makes it worse.

    Args:
        x: Sources.
        y: Targets.
        a: Their weights, equal if None.
        b: The same for the targets.
        method: How to look.
        steps: Of the search.
        samples: Directions tried at every step, or noisy copies of every point.
        cost: Of `PointCloud`.
        start: Where to start, for example the direction of a similar pair: a good slice transfers. None starts from the
            difference of the means, the principal axes and random directions.
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
    check_choice("method", method, _METHODS)
    check_number("steps", steps, low=0)
    check_number("samples", samples, low=1)
    x, y, a, b, batch = aligned(x, y, a, b)
    n, m, d = x.shape[-2], y.shape[-2], x.shape[-1]
    if method == "replicas" and (cost != "sqeuclidean" or n != m or a is not None or b is not None):
        raise InputError(
            f"method='replicas' needs cost='sqeuclidean' and equal numbers of points of equal weights, but got "
            f"{cost!r} with {n} and {m} points: use method='stein'."
        )
    dtype, (x, y) = x.dtype, Linear(x.new_empty(0, d))._prepared(x.detach(), y.detach())
    weights = [None if w is None else w.detach().to(x.dtype) for w in (a, b)]
    geometry = PointCloud(x, y, cost)

    # What is drawn is drawn once for all problems: none depends on its neighbours in the batch.
    def draw(count: int) -> Tensor:
        drawn = directions(count, d, generator=generator, dtype=x.dtype, device=x.device)
        return drawn.expand(*batch, count, d)

    def noise(count: int) -> Tensor:
        return torch.randn(count, d, generator=generator, dtype=torch.float64).to(x)

    if start is None:
        tried = torch.cat([_landmarks(x, y, *weights), draw(samples)], -2)
    else:
        together(start=start.shape[:-1], clouds=batch)
        tried = torch.nn.functional.normalize(start.detach().to(x.dtype).expand(*batch, d), dim=-1)[..., None, :]

    def price(theta: Tensor) -> Tensor:
        return slice_costs(lifted_plans(x, y, *weights, slicer=Linear(theta), ties="order"), geometry)

    best, lowest = _cheapest(tried, price(tried))
    here, value = best, lowest
    moment, square = torch.zeros_like(here), torch.zeros_like(here[..., :1])
    for step in range(steps):
        progress, z, width = step / steps, None, 0.1 * (1 - 0.8 * step / steps)
        if method == "random":
            tried = draw(samples)
        elif method == "annealing":
            tried = here[..., None, :] + (0.5 * (1 - progress) + 0.02) * noise(samples)
        elif method == "replicas":
            tried = here[..., None, :]
        else:
            z = noise(max(1, samples // 2))
            tried = torch.cat([here[..., None, :] + width * z, here[..., None, :] - width * z], -2)
        tried = torch.nn.functional.normalize(tried, dim=-1)
        costs = price(tried)
        one, cheap = _cheapest(tried, costs)
        best, lowest = _better(cheap < lowest, (one, cheap), (best, lowest))
        if method == "annealing":
            worse = (cheap - value) / lowest.clamp_min(1e-30)
            luck = float(torch.rand((), generator=generator, dtype=torch.float64))
            taken = (worse <= 0) | (luck < torch.exp(-worse / (0.05 * (1 - progress) + 1e-6)))
            here, value = _better(taken, (one, cheap), (here, value))
        elif method != "random":
            if z is None:
                slope = _replica_slope(x, y, here, samples, 0.2 * (1 - 0.8 * progress), generator)
            else:
                up, down = costs.chunk(2, -1)
                slope = ((up - down)[..., None] * z).mean(-2) / (2 * width)
            # Adam with the norm of the whole vector: a direction has no preferred axes.
            moment = 0.8 * moment + 0.2 * slope
            square = 0.95 * square + 0.05 * slope.square().sum(-1, keepdim=True)
            size = 0.3 * 0.5 * (1 + math.cos(math.pi * progress))
            here = torch.nn.functional.normalize(here - size * moment / square.sqrt().clamp_min(1e-30), dim=-1)
    if method in ("stein", "replicas") and steps:
        final = price(here[..., None, :])[..., 0]
        best, lowest = _better(final < lowest, (here, final), (best, lowest))
    return best.to(dtype), lowest.to(dtype)


def _cheapest(tried: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
    k = costs.argmin(-1)
    return picked(tried, k), picked(costs, k)


def _better(taken: Tensor, new: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Direction and cost, the new ones where they are taken."""
    return torch.where(taken[..., None], new[0], old[0]), torch.where(taken, new[1], old[1])


def _replica_slope(
    x: Tensor, y: Tensor, theta: Tensor, copies: int, width: float, generator: torch.Generator | None
) -> Tensor:
    r"""The gradient of $2 W^2(X, Z) + 2 W^2(Y, Z) - 4 W^2(M, Z)$ by the direction.

    Z are the midpoints of the sorted projections, on the line; M the midpoints of matched points. With M from a hard
    sort this is the cost itself, whatever Z, and has no slope; with M averaged over noisy sorts it has one.
    """
    theta = theta.detach().requires_grad_()
    with torch.enable_grad():
        u, v = ((points @ theta[..., None])[..., 0] for points in (x, y))
        order_u, order_v = u.argsort(-1), v.argsort(-1)
        line = ((u.gather(-1, order_u) + v.gather(-1, order_v)) / 2)[..., None] * theta[..., None, :]
        with torch.no_grad():
            spread = width * torch.cat([u, v], -1).std(-1, keepdim=True)
            matched = []
            for places, points in ((u, x), (v, y)):
                n = places.shape[-1]
                shake = torch.randn(copies, n, generator=generator, dtype=torch.float64).to(places)
                rank = (places[..., None, :] + spread[..., None] * shake).flatten(-2).argsort(-1) % n
                matched.append(_rows(points, rank).unflatten(-2, (n, copies)).mean(-2))
            middle = (matched[0] + matched[1]) / 2
            middle = _rows(middle, (middle @ theta[..., None])[..., 0].argsort(-1))
        far = [(points - line).square().sum(-1).mean(-1) for points in (_rows(x, order_u), _rows(y, order_v), middle)]
        (slope,) = torch.autograd.grad((2 * far[0] + 2 * far[1] - 4 * far[2]).sum(), theta)
    return slope - (slope * theta.detach()).sum(-1, keepdim=True) * theta.detach()


def _rows(points: Tensor, index: Tensor) -> Tensor:
    return points.gather(-2, index[..., None].expand(*index.shape, points.shape[-1]))


def _landmarks(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
    """The difference of the means, the principal axes of both clouds, and of the first against the second."""
    (mean_x, first), (mean_y, second) = moments(x, a), moments(y, b)
    axes = [torch.linalg.eigh(cov).eigenvectors.mT[..., -3:, :] for cov in (first, second)]
    shift = (mean_x - mean_y)[..., None, :]
    shift = torch.where(shift.norm(dim=-1, keepdim=True) > 0, shift, axes[0][..., -1:, :])
    return torch.nn.functional.normalize(torch.cat([shift, *axes], -2), dim=-1)

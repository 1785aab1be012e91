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

from ..directions import directions
from ..slicer import Linear
from .lift import lifted_plans, slice_costs

__all__ = ["search_direction"]

_METHODS = ("stein", "replicas", "annealing", "random")


@transformable
@torch.no_grad()
def search_direction(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
    *,
    method: str = "stein",
    steps: int = 60,
    samples: int = 32,
    cost: str = "sqeuclidean",
    start: Float[Tensor, " d"] | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
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
    geometry, d = PointCloud(x, y, cost), x.shape[-1]
    if method == "replicas" and (cost != "sqeuclidean" or len(x) != len(y) or a is not None or b is not None):
        raise InputError(
            f"method='replicas' needs cost='sqeuclidean' and equal numbers of points of equal weights, but got "
            f"{cost!r} with {len(x)} and {len(y)} points: use method='stein'."
        )

    def price(theta: Tensor) -> Tensor:
        return slice_costs(lifted_plans(x, y, a, b, slicer=Linear(theta), ties="order"), geometry)

    def draw(count: int) -> Tensor:
        return directions(count, d, generator=generator, dtype=x.dtype, device=x.device)

    def noise(count: int) -> Tensor:
        return torch.randn(count, d, generator=generator, dtype=torch.float64).to(x)

    if start is None:
        tried = torch.cat([_landmarks(x, y), draw(samples)])
    else:
        tried = torch.nn.functional.normalize(start[None], dim=-1)
    costs = price(tried)
    best, lowest = tried[costs.argmin()], costs.min()
    here, value = best, lowest
    moment, square = torch.zeros_like(here), torch.zeros((), dtype=x.dtype, device=x.device)
    for step in range(steps):
        progress = step / max(steps, 1)
        if method == "random":
            tried = draw(samples)
        elif method == "annealing":
            tried = here + (0.5 * (1 - progress) + 0.02) * noise(samples)
        elif method == "replicas":
            tried = here[None]
        else:
            width = 0.1 * (1 - 0.8 * progress)
            z = noise(max(1, samples // 2))
            tried = torch.cat([here + width * z, here - width * z])
        tried = torch.nn.functional.normalize(tried, dim=-1)
        costs = price(tried)
        if costs.min() < lowest:
            best, lowest = tried[costs.argmin()], costs.min()
        if method == "annealing":
            k = costs.argmin()
            worse = float((costs[k] - value) / lowest.clamp_min(1e-300))
            luck = float(torch.rand((), generator=generator, dtype=torch.float64))
            if worse <= 0 or luck < math.exp(-worse / (0.05 * (1 - progress) + 1e-6)):
                here, value = tried[k], costs[k]
        elif method != "random":
            if method == "stein":
                up, down = costs.chunk(2)
                slope = ((up - down)[:, None] * z).mean(0) / (2 * width)
            else:
                slope = _replica_slope(x, y, here, samples, 0.2 * (1 - 0.8 * progress), generator)
            # Adam with the norm of the whole vector: a direction has no preferred axes.
            moment = 0.8 * moment + 0.2 * slope
            square = 0.95 * square + 0.05 * slope.square().sum()
            size = 0.3 * 0.5 * (1 + math.cos(math.pi * progress))
            here = torch.nn.functional.normalize(here - size * moment / square.sqrt().clamp_min(1e-300), dim=-1)
    if method in ("stein", "replicas") and steps:
        final = price(here[None])[0]
        if final < lowest:
            best, lowest = here, final
    return best, lowest


def _replica_slope(
    x: Tensor, y: Tensor, theta: Tensor, copies: int, width: float, generator: torch.Generator | None
) -> Tensor:
    r"""The gradient of $2 W^2(X, Z) + 2 W^2(Y, Z) - 4 W^2(M, Z)$ by the direction.

    Z are the midpoints of the sorted projections, on the line; M the midpoints of matched points. With M from a hard
    sort this is the cost itself, whatever Z, and has no slope; with M averaged over noisy sorts it has one.
    """
    theta = theta.detach().requires_grad_()
    with torch.enable_grad():
        u, v = x @ theta, y @ theta
        order_u, order_v = u.argsort(), v.argsort()
        line = ((u[order_u] + v[order_v]) / 2)[:, None] * theta
        with torch.no_grad():
            spread = width * torch.cat([u, v]).std()
            matched = []
            for places, points in ((u, x), (v, y)):
                shake = torch.randn(copies, len(places), generator=generator, dtype=torch.float64).to(places)
                rank = (places + spread * shake).flatten().argsort() % len(places)
                matched.append(points[rank].unflatten(0, (len(places), copies)).mean(1))
            middle = (matched[0] + matched[1]) / 2
            middle = middle[(middle @ theta).argsort()]
        far = [(points - line).square().sum(-1).mean() for points in (x[order_u], y[order_v], middle)]
        (slope,) = torch.autograd.grad(2 * far[0] + 2 * far[1] - 4 * far[2], theta)
    return slope - (slope @ theta.detach()) * theta.detach()


def _landmarks(x: Tensor, y: Tensor) -> Tensor:
    """The difference of the means, the principal axes of both clouds, and of the first against the second."""
    shift = (x.mean(0) - y.mean(0))[None]
    axes = [torch.linalg.eigh(torch.cov(cloud.T).reshape(x.shape[-1], -1)).eigenvectors.T for cloud in (x, y)]
    found = torch.cat([shift, *(basis[-3:] for basis in axes)])
    length = found.norm(dim=-1)
    return torch.nn.functional.normalize(found[length > 0], dim=-1)

"""Slicing laws that follow the data: the best slice, the slices that matter, a learned law."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from monge._checks import check_choice, check_number
from monge._transforms import transformable
from monge.kernels.derivatives import once

from ._aligned_clouds import aligned, centred, picked
from .directions import directions
from .estimate import Estimate, estimate, slice_costs
from .line import Balanced, LineProblem
from .slicer import STRAIGHT, Augmented, LinearSlicer, Polynomial, Slicer, Spheres

__all__ = [
    "distributional_sliced_wasserstein",
    "energy_based_sliced_wasserstein",
    "max_sliced_wasserstein",
    "random_path_directions",
]


@transformable
def max_sliced_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: LinearSlicer | Polynomial | Spheres | Augmented | None = None,
    p: float = 2.0,
    steps: int = 100,
    step_size: float = 0.1,
    restarts: int = 8,
    generator: torch.Generator | None = None,
) -> tuple[Estimate, Float[Tensor, "*b 1 k"]]:
    r"""The largest one-dimensional distance over all slices of a family, found by projected gradient ascent.

    $$\max_{\theta \in S^{d-1}} W_p^p(\langle\theta, \cdot\rangle_\#\mu, \langle\theta, \cdot\rangle_\#\nu)$$
    The objective is not concave: the ascent starts from the difference of the means, from the extreme directions of the
    difference of the covariances and from random ones, all at once, and the best end wins. The gradient of the result
    treats the direction as constant (envelope theorem). With another family of slices it is the generalised maximum.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`.
        b: Non-negative weights of `y`.
        slicer: Slices to start from, which also say what family they belong to; straight lines chosen by the data if
            None.
        p: Order, at least 1.
        steps: Of the ascent.
        step_size: Of the normalised gradient, in radians; it shrinks to zero along a cosine.
        restarts: Random starts, besides those.
        generator: Source of the random starts.

    Returns:
        The estimate on the best slice, and its parameters.

    Source:
        Deshpande et al., Max-sliced Wasserstein distance and its use for GANs (arXiv 1904.05877); Kolouri et al.,
        Generalized sliced Wasserstein distances (arXiv 1902.00434).

    Example:
        >>> import torch
        >>> x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
        >>> found, theta = max_sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(0))
        >>> round(float(found.distance), 3)
        5.0
    """
    check_number("steps", steps, low=0)
    check_number("restarts", restarts, low=0)
    line = Balanced(p)
    x, y, a, b, batch = aligned(x, y, a, b, slicer=slicer)
    weights = [None if t is None else t.detach() for t in (a, b)]
    clouds = (slicer or STRAIGHT)._prepared(x.detach(), y.detach())
    family = LinearSlicer(landmarks(*clouds, *weights)) if slicer is None else slicer
    theta = normalize(family.theta.detach().to(clouds[0].dtype), dim=-1)
    if restarts:  # the same for all problems: none depends on its neighbours in the batch
        drawn = directions(restarts, theta.shape[-1], generator=generator, dtype=theta.dtype, device=x.device)
        theta = torch.cat([theta, drawn.expand(*theta.shape[:-2], *drawn.shape)], -2)
    theta = theta.expand(*batch, *theta.shape[-2:])
    best, best_cost = theta, theta.new_full(theta.shape[:-1], -1.0)
    for step in range(steps + 1):
        theta = theta.detach().requires_grad_()
        with torch.enable_grad():
            here = family._at(theta)
            costs = line._costs(*(here._coordinates(cloud, slice(None)) for cloud in clouds), *weights)
        with torch.no_grad():
            better = costs > best_cost
            best = torch.where(better[..., None], theta, best)
            best_cost = torch.where(better, costs, best_cost)
            if step == steps:
                break
            (gradient,) = torch.autograd.grad(costs, theta, torch.ones_like(costs))
            theta = along_sphere(theta, gradient, step_size, step / steps)
    winner = picked(best, best_cost.argmax(-1))[..., None, :].detach()
    return _fixed(estimate(x, y, a, b, slicer=family._at(winner), line=line), (x, y, a, b)), winner


@transformable
def energy_based_sliced_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: Slicer,
    line: LineProblem | None = None,
    energy: str = "exponential",
    temperature: float = 1.0,
    power: float = 2.0,
) -> Estimate:
    r"""The mean over slices weighted by how far apart the measures are on each.

    Weights proportional to $e^{W_l / T}$ (``"exponential"``) or $W_l^\rho$ (``"power"``) of the costs $W_l = W_p^p$
    on the slices, which the gradient follows. Never less than the plain mean over the same slices, never
    more than their maximum. Costs are means over atoms, so $T$ is in units of the squared distance (for p = 2).

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`.
        b: Non-negative weights of `y`.
        slicer: The slices, for example ``LinearSlicer(directions(...))`` or ``GreatCircles(frames(...))``.
        line: What is solved on them, `Balanced(2)` if None; on the sphere for example `Circular`.
        energy: ``"exponential"`` or ``"power"``.
        temperature: T > 0.
        power: rho >= 0.

    Source:
        Nguyen, Ho, Energy-based sliced Wasserstein distance (arXiv 2304.13586), and arXiv 2412.19212
        on the sphere.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
        >>> energy_based_sliced_wasserstein(x, y, slicer=LinearSlicer(torch.eye(2)), energy="power", power=1.0).cost
        tensor(13.4800)
    """
    check_choice("energy", energy, ("exponential", "power"))
    check_number("temperature", temperature, low=0.0, strict=True)
    check_number("power", power, low=0.0)
    line = Balanced() if line is None else line
    costs = slice_costs(x, y, a, b, slicer=slicer, line=line)
    logits = costs / temperature if energy == "exponential" else power * costs.clamp_min(1e-300).log()
    weights = logits.softmax(-1)
    return Estimate((weights * costs).sum(-1), costs.detach(), 1, line.p, weights.detach())


@transformable
def distributional_sliced_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    p: float = 2.0,
    slices: int = 64,
    concentration: float = 10.0,
    steps: int = 50,
    step_size: float = 0.1,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""The largest mean cost over laws of directions of a given concentration around a learned centre.

    Directions $\theta = \mathrm{normalise}(\mu + z / \sqrt{\kappa})$ with standard normal $z$, drawn once; the centre
    $\mu$ climbs by gradient ascent through them. $\kappa = 0$ is the uniform law, $\kappa \to \infty$ the best slice.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`.
        b: Non-negative weights of `y`.
        p: Order, at least 1.
        slices: Directions of the final estimate, and of each step.
        concentration: kappa >= 0.
        steps: Of the ascent.
        step_size: In radians.
        generator: Source of the start and of the noise.

    Source:
        Nguyen, Ho, Pham, Bui, Distributional sliced-Wasserstein (arXiv 2002.07367), with a projected normal law.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
        >>> found = distributional_sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(0))
        >>> 12.5 < float(found.cost) < 25  # between the uniform mean and the best slice
        True
    """
    check_number("concentration", concentration, low=0.0)
    check_number("slices", slices, low=1)
    check_number("steps", steps, low=0)
    line = Balanced(p)
    x, y, a, b, _ = aligned(x, y, a, b)
    weights = [None if t is None else t.detach() for t in (a, b)]
    clouds = STRAIGHT._prepared(x.detach(), y.detach())
    centre = landmarks(*clouds, *weights)[..., :1, :]
    noise = torch.randn(slices, x.shape[-1], generator=generator, dtype=torch.float64).to(centre)

    def around(centre: Tensor) -> Tensor:
        if concentration == 0:
            return normalize(noise, dim=-1).expand(*centre.shape[:-2], *noise.shape)
        return normalize(centre + noise / math.sqrt(concentration), dim=-1)

    for step in range(steps):
        centre = centre.detach().requires_grad_()
        if concentration == 0:
            break
        with torch.enable_grad():
            slicer = LinearSlicer(around(centre))
            costs = line._costs(*(slicer._coordinates(cloud, slice(None)) for cloud in clouds), *weights)
        (gradient,) = torch.autograd.grad(costs.mean(-1).sum(), centre)
        centre = along_sphere(centre.detach(), gradient, step_size, step / steps)
    return _fixed(estimate(x, y, a, b, slicer=LinearSlicer(around(centre.detach()).detach()), line=line), (x, y, a, b))


def _fixed(found: Estimate, sources: tuple[Tensor | None, ...]) -> Estimate:
    """An estimate at slices that were searched for: by the envelope theorem they are constants, but only once."""
    told = (
        "Slices that are searched for have a first derivative only, by the envelope theorem: for a second one pass the "
        "slices to sliced_wasserstein(theta=...)."
    )
    return found._replace(cost=once(found.cost, sources, told))


@transformable
def random_path_directions(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    count: int,
    *,
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    concentration: float = 50.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*b count d"]:
    r"""Directions from random points of one cloud to random points of the other, slightly blurred.

    $\theta = \mathrm{normalise}(\mathrm{normalise}(x - y) + z / \sqrt{\kappa})$ with independent $x$, $y$, $z$: cheap,
    and strong in gradient flows, where differences that matter are differences of points.

    Args:
        x: First clouds.
        y: Second clouds.
        count: How many directions.
        a: Non-negative weights of `x`, with which its points are drawn; equal if None.
        b: The same for `y`.
        concentration: kappa > 0.
        generator: Source of randomness.

    Source:
        Nguyen, Zhang, Le, Ho, Sliced Wasserstein with random-path projecting directions (arXiv 2401.15889).

    Example:
        >>> import torch
        >>> random_path_directions(torch.zeros(5, 3), torch.ones(4, 3), 7).shape
        torch.Size([7, 3])
    """
    check_number("count", count, low=1)
    check_number("concentration", concentration, low=0.0, strict=True)
    x, y, a, b, batch = aligned(x, y, a, b)
    near = STRAIGHT._prepared(x.detach(), y.detach())
    ends = []
    for points, weights in zip(near, (a, b), strict=True):
        # One draw for all problems: the same levels, each in its own law.
        level = torch.rand(count, generator=generator, dtype=torch.float64).to(x.device)
        row = points.new_ones(points.shape[:-1]) if weights is None else weights.detach()
        law = row.double().cumsum(-1)
        place = torch.searchsorted(law, (level * law[..., -1:]).contiguous(), right=True)
        last = (row > 0).long().cumsum(-1).argmax(-1, keepdim=True)  # rounding never draws what is absent
        ends.append(points.gather(-2, place.minimum(last)[..., None].expand(*batch, count, points.shape[-1])))
    noise = torch.randn(count, x.shape[-1], generator=generator, dtype=torch.float64).to(ends[0])
    path = normalize(ends[0] - ends[1], dim=-1)
    return normalize(path + noise / math.sqrt(concentration), dim=-1).to(x.dtype)


def landmarks(x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Float[Tensor, "*b 3 d"]:
    """The difference of the means and the extreme eigenvectors of the difference of the covariances."""
    (mean_x, first), (mean_y, second) = centred(x, a), centred(y, b)
    axes = torch.linalg.eigh(first.mT @ first - second.mT @ second).eigenvectors.mT
    return with_shift(mean_x - mean_y, axes[..., [0, -1], :])


def with_shift(shift: Float[Tensor, "*b 1 d"], axes: Float[Tensor, "*b k d"]) -> Float[Tensor, "*b kplus1 d"]:
    """Unit vectors along the difference of the means, or the first axis if there is none, and the axes."""
    shift = torch.where(shift.norm(dim=-1, keepdim=True) > 0, shift, axes[..., :1, :])
    return normalize(torch.cat([shift, axes], -2), dim=-1)


def along_sphere(theta: Tensor, gradient: Tensor, size: float, progress: float) -> Tensor:
    """Unit vectors turned by an angle, which shrinks to zero along a cosine, to where the gradient points."""
    tangent = gradient - (gradient * theta).sum(-1, keepdim=True) * theta
    angle = size * 0.5 * (1 + math.cos(math.pi * progress))
    return normalize(theta + angle * normalize(tangent, dim=-1), dim=-1)

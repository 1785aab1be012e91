"""Laws of slices that depend on the data: the best slice, weighted slices, a learned law."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from monge._checks import check_choice, check_number
from monge._users_arrays import takes_arrays
from monge.kernels.derivatives import once

from ._aligned_clouds import Clouds, aligned, centred, equal_unless, gathered, noise, picked
from .directions import directions_for
from .estimate import Estimate, averaged, slice_costs
from .line import Balanced, LineProblem
from .slicer import STRAIGHT, Augmented, LinearSlicer, Polynomial, Slicer, Spheres

__all__ = [
    "distributional_sliced_wasserstein",
    "energy_based_sliced_wasserstein",
    "max_sliced_wasserstein",
    "random_path_directions",
]


@takes_arrays
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
    The objective is not concave. So the ascent starts from the difference of the means, from the extreme directions of
    the difference of the covariances and from random directions, all at the same time, and the best result is returned.
    For its gradient the direction is a constant (envelope theorem). With another family of slices, this is the
    generalised maximum.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`.
        b: Non-negative weights of `y`.
        slicer: Slices to start from, which also determine the family; straight lines that are chosen by the data if
            None.
        p: Order, at least 1.
        steps: Number of steps of the ascent.
        step_size: Length of a step along the normalised gradient, in radians; it falls to zero along a cosine.
        restarts: Number of further random starts.
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
    given, line = slicer or STRAIGHT, Balanced(p)
    clouds = aligned(x, y, a, b, slices=given._batch)
    near = given._prepared(clouds.map(Tensor.detach))
    family = LinearSlicer(landmarks(near)) if slicer is None else slicer
    theta = normalize(family.theta.detach().to(near.x.dtype), dim=-1)
    if restarts:  # the same for all problems: none depends on its neighbours in the batch
        drawn = directions_for(theta, restarts, generator)
        theta = torch.cat([theta, drawn.expand(*theta.shape[:-2], *drawn.shape)], -2)
    best = theta = theta.expand(*near.x.shape[:-2], *theta.shape[-2:])
    best_cost = theta.new_full(theta.shape[:-1], -1.0)
    for step in range(steps + 1):
        costs, gradient = _gradient(near, line, family._at, theta)
        better = costs > best_cost
        best, best_cost = torch.where(better[..., None], theta, best), torch.where(better, costs, best_cost)
        theta = along_sphere(theta, gradient, step_size, step / max(1, steps))
    winner = picked(best, best_cost.argmax(-1))[..., None, :]
    return _fixed(averaged(clouds, family._at(winner), line), clouds), winner


@takes_arrays
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

    With the costs $W_l = W_p^p$ on the slices, the weights are proportional to $e^{W_l / T}$ (``"exponential"``) or
    $W_l^\rho$ (``"power"``), and the gradient passes through them. The result is never less than the plain mean over
    the same slices, and never more than their maximum. Costs are means over atoms, so $T$ is in units of the squared
    distance (for p = 2).

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`.
        b: Non-negative weights of `y`.
        slicer: The slices, for example ``LinearSlicer(directions(...))`` or ``GreatCircles(frames(...))``.
        line: The problem on the slices, `Balanced(2)` if None; on the sphere for example `Circular`.
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
    costs = slice_costs(aligned(x, y, a, b, slices=slicer._batch), slicer, line)
    logits = costs / temperature if energy == "exponential" else power * costs.clamp_min(1e-300).log()
    weights = logits.softmax(-1)
    return Estimate((weights * costs).sum(-1), costs.detach(), 1, line.p, weights.detach())


@takes_arrays
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

    The directions are $\theta = \mathrm{normalise}(\mu + z / \sqrt{\kappa})$, where $z$ is standard normal and drawn
    once. Gradient ascent finds the centre $\mu$. With $\kappa = 0$ the law is uniform, and for $\kappa \to \infty$ the
    result is the best slice.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`.
        b: Non-negative weights of `y`.
        p: Order, at least 1.
        slices: Number of directions of the final estimate, and of each step.
        concentration: kappa >= 0.
        steps: Number of steps of the ascent.
        step_size: Length of a step, in radians.
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
    line, clouds = Balanced(p), aligned(x, y, a, b)
    near = STRAIGHT._prepared(clouds.map(Tensor.detach))
    centre = landmarks(near)[..., :1, :]
    blur = noise((slices, x.shape[-1]), generator, centre)

    def around(centre: Tensor) -> LinearSlicer:
        if concentration == 0:
            return LinearSlicer(normalize(blur, dim=-1).expand(*centre.shape[:-2], *blur.shape))
        return LinearSlicer(normalize(centre + blur / math.sqrt(concentration), dim=-1))

    for step in range(steps if concentration > 0 else 0):
        _, gradient = _gradient(near, line, around, centre)
        centre = along_sphere(centre, gradient, step_size, step / steps)
    return _fixed(averaged(clouds, around(centre), line), clouds)


def _gradient(
    near: Clouds, line: LineProblem, slicer: Callable[[Tensor], Slicer], at: Tensor
) -> tuple[Float[Tensor, "*b slices"], Tensor]:
    """The costs on the slices at parameters, and the gradient of their sum by these."""
    at = at.detach().requires_grad_()
    with torch.enable_grad():
        costs = line._costs(slicer(at)._lines(near))
        (gradient,) = torch.autograd.grad(costs.sum(), at)
    return costs.detach(), gradient


def _fixed(found: Estimate, sources: Clouds) -> Estimate:
    """An estimate at slices that were searched for: by the envelope theorem they are constants, but only once."""
    told = (
        "Slices that are searched for have a first derivative only, by the envelope theorem: for a second one pass the "
        "slices to sliced_wasserstein(theta=...)."
    )
    return found._replace(cost=once(found.cost, sources, told))


@takes_arrays
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

    They are $\theta = \mathrm{normalise}(\mathrm{normalise}(x - y) + z / \sqrt{\kappa})$ with independent $x$, $y$,
    $z$. They cost little, and are useful in gradient flows, where the differences between points matter.

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
    near = STRAIGHT._prepared(aligned(x, y, a, b).map(Tensor.detach))
    ends = []
    for points, weights in ((near.x, near.a), (near.y, near.b)):
        # One draw for all problems: the same levels, each in its own law.
        level = torch.rand(count, generator=generator, dtype=torch.float64).to(x.device)
        row = equal_unless(weights, points[..., 0])
        law = row.double().cumsum(-1)
        place = torch.searchsorted(law, (level * law[..., -1:]).contiguous(), right=True)
        last = (row > 0).long().cumsum(-1).argmax(-1, keepdim=True)  # rounding never draws what is absent
        ends.append(gathered(points, place.minimum(last)))
    path = normalize(ends[0] - ends[1], dim=-1)
    blur = noise((count, x.shape[-1]), generator, path)
    return normalize(path + blur / math.sqrt(concentration), dim=-1).to(x.dtype)


def landmarks(clouds: Clouds) -> Float[Tensor, "*b 3 d"]:
    """The difference of the means and the extreme eigenvectors of the difference of the covariances."""
    (mean_x, first), (mean_y, second) = centred(clouds.x, clouds.a), centred(clouds.y, clouds.b)
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

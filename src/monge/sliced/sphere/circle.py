"""Transport on the circle: exact distances and plans, and the linear embedding."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._arrays import root, working_dtype
from monge._checks import check_number
from monge._users_arrays import takes_arrays
from monge.coupling import MonotoneCoupling
from monge.kernels.line import levels, staircase

from .._aligned_clouds import Clouds, midpoints, of_mass_one, on_a_line

__all__ = [
    "circular_barycenter_density",
    "circular_embedding",
    "circular_plan",
    "circular_uniformity",
    "circular_wasserstein",
    "linear_circular_wasserstein",
]


def _turns(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float, circumference: float) -> Clouds:
    """Checked positions in turns, and weights, of one batch."""
    check_number("p", float(p), low=1.0)
    check_number("circumference", float(circumference), low=0.0, strict=True)
    clouds = on_a_line(x, y, a, b)
    x, y = (side.to(working_dtype(side)) / circumference for side in clouds[:2])
    return clouds._replace(x=x, y=y)


@takes_arrays
def circular_wasserstein(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    p: float = 2.0,
    circumference: float = 1.0,
) -> Float[Tensor, "*b"]:
    """The exact Wasserstein distance on a circle, rooted; with weights, batched, in a few passes of n + m steps.

    Args:
        x: Positions, in units of the circumference; any real number, wrapped.
        y: Positions of the second measures.
        a: Non-negative weights, equal if None; scaled to mass one.
        b: The same for `y`.
        p: Order, at least 1.
        circumference: Length of the circle; 2 pi for angles.

    Source:
        Delon, Salomon, Sobolevski, Fast transport optimization for Monge costs on the circle (arXiv 0902.3527).

    Example:
        >>> import torch
        >>> circular_wasserstein(torch.tensor([0.05]), torch.tensor([0.95]))  # across the cut
        tensor(0.1000)
    """
    cost = kernels.circle_distance(*_turns(x, y, a, b, p, circumference), p)
    return (circumference * root(cost, p)).to(x.dtype)


@takes_arrays
def linear_circular_wasserstein(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    circumference: float = 1.0,
) -> Float[Tensor, "*b"]:
    """The linear circular transport distance (LCOT), rooted: an L2 distance between embeddings, never below W_2.

    It is computed exactly on the merged breakpoints, without a grid. For many measures, embed each of them once with
    `circular_embedding`.

    Args:
        x: Positions, in units of the circumference; wrapped.
        y: Positions of the second measures.
        a: Non-negative weights, equal if None; scaled to mass one.
        b: The same for `y`.
        circumference: Length of the circle.

    Source:
        Diaz Martin, Medri, Bai, Liu, Yan, Rohde, Kolouri, LCOT: Linear circular optimal transport (arXiv 2310.06002).

    Example:
        >>> import torch
        >>> linear_circular_wasserstein(torch.tensor([0.05]), torch.tensor([0.95]))
        tensor(0.1000)
    """
    cost = kernels.linear_circle_distance(*_turns(x, y, a, b, 2.0, circumference), 2.0)
    return (circumference * root(cost, 2.0)).to(x.dtype)


@takes_arrays
def circular_embedding(
    x: Float[Tensor, "*b n"], a: Float[Tensor, "*b n"] | None = None, *, size: int = 256, circumference: float = 1.0
) -> Float[Tensor, "*b size"]:
    r"""The linear circular embedding $\hat\mu(t) = F^{-1}(t - E + \tfrac12) - t$ on a grid of midpoints, in turns.

    The wrapped L2 distance of two embeddings is their LCOT distance, up to the grid; the uniform measure maps to zero.

    Args:
        x: Positions, in units of the circumference; wrapped.
        a: Non-negative weights, equal if None; scaled to mass one.
        size: Grid points t = (k + 1/2) / size.
        circumference: Length of the circle.

    Example:
        >>> import torch
        >>> grid = (torch.arange(1000) + 0.5) / 1000
        >>> bool(circular_embedding(grid, size=10).abs().max() < 1e-3)
        True
    """
    ordered, weights, level = _sorted(x, a, circumference)
    mean = (ordered * weights).sum(-1, keepdim=True)
    grid = midpoints(size, mean)
    at = grid - mean.detach() + 0.5
    whole = at.floor()
    index = torch.searchsorted(level.contiguous(), (at - whole).contiguous()).clamp_(max=ordered.shape[-1] - 1)
    return (ordered.gather(-1, index) + whole - grid).to(x.dtype)


@takes_arrays
def circular_uniformity(
    x: Float[Tensor, "*b n"], a: Float[Tensor, "*b n"] | None = None, *, circumference: float = 1.0
) -> Float[Tensor, "*b"]:
    r"""The squared distance $W_2^2$ to the uniform law on the circle, in closed form, without a sample of that law.

    With sorted positions $t_i$ in turns and weights $a_i$ of sum one,
    $$W_2^2 = \sum_i a_i t_i^2 - \Big(\sum_i a_i t_i\Big)^2 + \sum_i a_i t_i \Big(1 - a_i - 2 \sum_{k < i} a_k\Big)
    + \frac1{12}.$$

    Args:
        x: Positions, in units of the circumference; wrapped.
        a: Non-negative weights, equal if None; scaled to mass one.
        circumference: Length of the circle.

    Source:
        Bonet et al., Spherical sliced-Wasserstein (arXiv 2206.08780).

    Example:
        >>> import torch
        >>> round(float(circular_uniformity(torch.tensor([0.0, 0.2, 0.4], dtype=torch.float64))), 7)
        0.0211111
    """
    ordered, a, _ = _sorted(x, a, circumference)
    lean = 1 + a - 2 * a.cumsum(-1)
    mean = (a * ordered).sum(-1)
    found = (a * ordered * (ordered + lean)).sum(-1) - mean.square() + 1 / 12
    return circumference**2 * found.to(x.dtype)


@takes_arrays
def circular_barycenter_density(
    embedding: Float[Tensor, "*b size"], *, bins: int = 128, concentration: float = 500.0
) -> Float[Tensor, "*b bins"]:
    r"""The density of the measure that an embedding stands for, smoothed by a von Mises kernel.

    The map $t \mapsto \hat\mu(t) + t$ takes the uniform measure to $\mu$. So the mean of embeddings is a barycentre in
    the linearised geometry, and this function gives its density.

    Args:
        embedding: One or a convex combination of `circular_embedding`.
        bins: Places, the midpoints of equal arcs of one turn.
        concentration: kappa of the kernel.

    Returns:
        Density per turn, of integral one.

    Example:
        >>> import torch
        >>> bool((circular_barycenter_density(torch.zeros(512)) - 1).abs().max() < 1e-3)
        True
    """
    check_number("concentration", concentration, low=0.0, strict=True)
    gap = midpoints(bins, embedding)[:, None] - (embedding + midpoints(embedding.shape[-1], embedding))[..., None, :]
    kernel = (concentration * ((2 * math.pi * gap).cos() - 1)).exp().mean(-1)
    return kernel / kernel.mean(-1, keepdim=True)


@takes_arrays
def circular_plan(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    p: float = 2.0,
    circumference: float = 1.0,
) -> MonotoneCoupling:
    """The optimal plan on the circle: a staircase of n + m + 1 pieces from the best cut.

    Args:
        x: Positions, in units of the circumference; wrapped.
        y: Positions of the second measures.
        a: Non-negative weights, 1/n each if None; scaled to mass one.
        b: The same for `y`.
        p: Order, at least 1.
        circumference: Length of the circle.

    Example:
        >>> import torch
        >>> circular_plan(torch.tensor([0.9, 0.1]), torch.tensor([0.15, 0.95])).assignment()
        tensor([1, 0])
    """
    u, v, a, b = _turns(x, y, a, b, p, circumference).map(Tensor.detach)
    u, v = u.remainder(1.0), v.remainder(1.0)
    shift = kernels.circle_shift(u, v, a, b, p)[..., None]
    (order_u, level_u), (order_v, level_v) = _ends(u, a), _ends(v, b)
    # One period of the target starts inside an atom, which therefore comes first and last.
    ends = (level_v - shift).remainder(1.0)
    if b is not None:  # Absent atoms end where others do: they go last, so that no piece is theirs.
        absent = (b == 0).expand(ends.shape).gather(-1, order_v)
        first = absent.long().argsort(dim=-1, stable=True)
        last = torch.where(absent, -math.inf, ends).amax(-1, keepdim=True)
        ends, order_v = torch.where(absent, last, ends).gather(-1, first), order_v.gather(-1, first)
    ends, turn = ends.sort(dim=-1, stable=True)
    pieces = torch.cat([turn, turn[..., :1]], -1)
    i, j, mass = staircase(level_u, torch.cat([ends, torch.ones_like(ends[..., :1])], -1))
    j = order_v.gather(-1, pieces.gather(-1, j))
    i = order_u.gather(-1, i)
    return MonotoneCoupling._make(i=i, j=j, w=mass.to(x.dtype), n=u.shape[-1], m=v.shape[-1])


def _ends(places: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The order of places on one turn, and where each ends, in float64."""
    order = places.argsort(dim=-1, stable=True)
    return order, levels(None if weights is None else of_mass_one(weights, places.double()), order)


def _sorted(x: Tensor, a: Tensor | None, circumference: float) -> tuple[Tensor, Tensor, Tensor]:
    """Positions on one turn in order, their weights of mass one, and where each ends, all but the first in float64."""
    places, _, a, _ = _turns(x, x, a, a, 2.0, circumference)
    places = places.remainder(1.0)
    order, level = _ends(places, a)
    return places.gather(-1, order), of_mass_one(a, places.double()).gather(-1, order), level

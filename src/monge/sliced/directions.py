"""Unit vectors to slice along, drawn so that a mean over few of them has a small variance."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from monge._arrays import working_dtype
from monge._checks import check_choice, check_number
from monge._transforms import transformable
from monge.errors import ShapeError

from ._aligned_clouds import check_theta

__all__ = ["KINDS", "directions", "directions_for", "drawn", "frames", "rotations"]


@transformable
def directions(
    count: int,
    dimension: int,
    kind: str = "orthogonal",
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "count dimension"]:
    """Unit vectors of R^d, each uniform on the sphere.

    ``"orthogonal"`` draws whole orthogonal bases from the Haar law: each vector has the same law, and means over them
    have a much smaller variance. ``"iid"`` draws the vectors independently. ``"sobol"`` maps a scrambled Sobol sequence
    through the normal quantile function; ``"area"`` (d = 3) maps a Sobol sequence of two numbers by a map that keeps
    areas. ``"spiral"`` (d = 3), ``"grid"`` (d = 2) and ``"repulsive"`` (lines that repel each other like charges) are
    evenly spread sets, turned by one random rotation; the last one takes a gradient descent over all pairs.

    Args:
        count: How many vectors.
        dimension: d.
        kind: The law, one of `KINDS`.
        generator: Source of randomness, on the CPU; the same generator state gives the same directions on any device.
        dtype: Dtype of the result.
        device: Device of the result.

    Raises:
        InputError: An unknown kind, or a count below one.
        ShapeError: A kind that exists in another dimension only.

    Source:
        Rowland et al., Orthogonal estimation of Wasserstein distances (2019); Nguyen, Bariletto, Ho, Quasi-Monte Carlo
        for 3D sliced Wasserstein (arXiv 2309.11713).

    Example:
        >>> import torch
        >>> theta = directions(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> torch.allclose(theta @ theta.T, torch.eye(3, dtype=torch.float64))
        True
    """
    check_number("count", count, low=1)
    check_number("dimension", dimension, low=1)
    check_choice("kind", kind, _LAWS)
    needed = {"area": 3, "spiral": 3, "grid": 2}.get(kind, dimension)
    if needed != dimension:
        raise ShapeError(f"kind={kind!r} exists in dimension {needed} only, not {dimension}: use kind='orthogonal'.")
    return _LAWS[kind](count, dimension, generator).to(dtype=dtype, device=device)


@transformable
def rotations(
    count: int, dimension: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "count dimension dimension"]:
    """Orthogonal matrices from the Haar law, in float64; the signs of the diagonal of R make them uniform.

    Example:
        >>> import torch
        >>> rotations(1, 1, generator=torch.Generator().manual_seed(0)).abs()
        tensor([[[1.]]], dtype=torch.float64)
    """
    normal = torch.randn(count, dimension, dimension, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * torch.diagonal(r, dim1=-2, dim2=-1).sign()[:, None, :]


@transformable
def frames(
    count: int,
    dimension: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "count 2 dimension"]:
    """Pairs of orthonormal vectors, uniform on the Stiefel manifold: great circles, or a pole with a direction.

    Each pair consists of two rows of a Haar-distributed basis, so that the planes of one basis are orthogonal.

    Raises:
        ShapeError: The dimension is less than two, so that there is no plane.

    Example:
        >>> import torch
        >>> frames(5, 3, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([5, 2, 3])
    """
    check_number("count", count, low=1)
    if dimension < 2:
        raise ShapeError(f"A frame needs at least two dimensions, but dimension is {dimension}.")
    planes = dimension // 2
    bases = rotations(-(-count // planes), dimension, generator=generator).mT
    stacked = bases[:, : 2 * planes].reshape(-1, 2, dimension)[:count]
    return stacked.to(dtype=dtype, device=device)


def drawn(
    like: Tensor, theta: Tensor | None, count: int, kind: str, generator: torch.Generator | None
) -> tuple[Tensor, int]:
    """The directions that are given, or new ones for these clouds, and how many of them were drawn together."""
    d = like.shape[-1]
    if theta is not None:
        check_theta(theta, d)
        return theta, 1
    block = d if kind == "orthogonal" else 1
    count = count if count < block else -(-count // block) * block
    return directions_for(like, count, generator, kind), block


def directions_for(like: Tensor, count: int, generator: torch.Generator | None, kind: str = "orthogonal") -> Tensor:
    """The number of directions that is asked for, in the dimension of the clouds and the dtype of their projection."""
    dtype = working_dtype(like)
    return directions(count, like.shape[-1], kind, generator=generator, dtype=dtype, device=like.device)


def _iid(count: int, dimension: int, generator: torch.Generator | None) -> Tensor:
    normal = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return normalize(normal, dim=-1)


def _orthogonal(count: int, dimension: int, generator: torch.Generator | None) -> Tensor:
    bases = rotations(-(-count // dimension), dimension, generator=generator)
    return bases.mT.reshape(-1, dimension)[:count]


def _quasirandom(count: int, dimension: int, generator: torch.Generator | None) -> Tensor:
    """A scrambled Sobol sequence in the unit cube."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed).draw(count, dtype=torch.float64)


def _sobol(count: int, dimension: int, generator: torch.Generator | None) -> Tensor:
    uniform = _quasirandom(count, dimension, generator).clamp(1e-6, 1 - 1e-6)
    return normalize(torch.special.ndtri(uniform), dim=-1)


def _area(count: int, dimension: int, generator: torch.Generator | None) -> Tensor:
    turn, height = _quasirandom(count, dimension - 1, generator).T
    radius, angle = 2 * (height - height.square()).clamp_min(0).sqrt(), 2 * math.pi * turn
    return torch.stack([radius * angle.cos(), radius * angle.sin(), 1 - 2 * height], -1)


def _repulsive(count: int, dimension: int, generator: torch.Generator | None) -> Tensor:
    """A slice is a line through the origin: both its ends are charges."""
    theta = _orthogonal(count, dimension, generator)
    step = count ** (-1 / max(1, dimension - 1))  # the distance of neighbours
    for k in range(50):
        ends = torch.cat([theta, -theta])
        gap = theta[:, None] - ends
        force = gap / gap.norm(dim=-1, keepdim=True).clamp_min(1e-12).pow(3)
        push = force.sum(1)
        push = push - (push * theta).sum(-1, keepdim=True) * theta
        longest = push.norm(dim=-1).max().clamp_min(1e-300)
        theta = normalize(theta + 0.3 * step * (1 - k / 50) * push / longest, dim=-1)
    return theta @ rotations(1, dimension, generator=generator)[0]


def _spiral(count: int, dimension: int, generator: torch.Generator | None) -> Tensor:
    z = 1 - (2 * torch.arange(1, count + 1, dtype=torch.float64) - 1) / count
    angle = 1.8 * math.sqrt(count) * torch.arccos(z)
    radius = (1 - z.square()).sqrt()
    points = torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)
    return points @ rotations(1, dimension, generator=generator)[0]


def _grid(count: int, dimension: int, generator: torch.Generator | None) -> Tensor:
    del dimension  # two: checked by the caller
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    angle = math.pi * (torch.arange(count, dtype=torch.float64) + offset) / count
    return torch.stack([angle.cos(), angle.sin()], -1)


_LAWS = {
    "orthogonal": _orthogonal,
    "iid": _iid,
    "sobol": _sobol,
    "area": _area,
    "spiral": _spiral,
    "repulsive": _repulsive,
    "grid": _grid,
}
KINDS = tuple(_LAWS)

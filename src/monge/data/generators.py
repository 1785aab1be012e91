"""Small random point clouds for examples; the generator is passed, so that the same seed gives the same cloud."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from monge._checks import check_count

__all__ = ["checkerboard", "gaussian", "mixture", "moons", "rings", "spiral"]


def gaussian(
    n: int, d: int = 2, *, scale: float = 1.0, generator: Generator, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n d"]:
    """Draw ``n`` points from the centred normal distribution of standard deviation ``scale``.

    Args:
        n: How many points.
        d: The dimension.
        scale: Standard deviation of each coordinate.
        generator: Source of randomness.
        dtype: The floating dtype of the answer.

    Returns:
        The points.

    Example:
        >>> import torch
        >>> from monge.data import gaussian
        >>> gaussian(100, 3, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([100, 3])
    """
    check_count("n", n)
    check_count("d", d)
    return scale * torch.randn(n, d, generator=generator, dtype=dtype)


def mixture(
    n: int,
    k: int = 8,
    *,
    radius: float = 4.0,
    scale: float = 0.3,
    generator: Generator,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n 2"]:
    """Draw ``n`` points of the plane from ``k`` normal distributions whose centres lie on a circle.

    Args:
        n: How many points.
        k: How many centres.
        radius: Radius of the circle.
        scale: Standard deviation about a centre.
        generator: Source of randomness.
        dtype: The floating dtype of the answer.

    Returns:
        The points, in random order of their centres.

    Example:
        >>> import torch
        >>> from monge.data import mixture
        >>> mixture(100, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([100, 2])
    """
    check_count("n", n)
    check_count("k", k)
    angle = torch.randint(k, (n,), generator=generator).to(dtype) * (2 * math.pi / k)
    return _jittered(_polar(radius, angle), scale, generator)


def moons(
    n: int, *, noise: float = 0.05, generator: Generator, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n 2"]:
    """Draw ``n`` points from two interleaved half circles of radius one.

    Args:
        n: How many points; half of them on each moon.
        noise: Standard deviation of normal noise.
        generator: Source of randomness.
        dtype: The floating dtype of the answer.

    Returns:
        The points, the upper moon first.

    Example:
        >>> import torch
        >>> from monge.data import moons
        >>> moons(100, generator=torch.Generator().manual_seed(0)).mean(0).abs().max() < 1
        tensor(True)
    """
    check_count("n", n)
    angle = math.pi * torch.rand(n, generator=generator, dtype=dtype)
    upper = torch.arange(n) < (n + 1) // 2
    arc = _polar(1.0, angle)
    shift = torch.tensor([1.0, 0.5], dtype=dtype)
    return _jittered(torch.where(upper[:, None], arc, shift - arc), noise, generator)


def rings(
    n: int,
    *,
    radii: tuple[float, ...] = (1.0, 2.0),
    noise: float = 0.05,
    generator: Generator,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n 2"]:
    """Draw ``n`` points from concentric circles, evenly along their length.

    Args:
        n: How many points.
        radii: The radii of the circles.
        noise: Standard deviation of normal noise.
        generator: Source of randomness.
        dtype: The floating dtype of the answer.

    Returns:
        The points, in random order of their circles.

    Example:
        >>> import torch
        >>> from monge.data import rings
        >>> rings(50, noise=0.0, radii=(3.0,), generator=torch.Generator().manual_seed(0)).norm(dim=-1).mean().round()
        tensor(3.)
    """
    check_count("n", n)
    choices = torch.tensor(radii, dtype=dtype)
    chosen = choices[torch.multinomial(choices, n, replacement=True, generator=generator)]
    angle = 2 * math.pi * torch.rand(n, generator=generator, dtype=dtype)
    return _jittered(_polar(chosen[:, None], angle), noise, generator)


def spiral(
    n: int, *, turns: float = 2.0, noise: float = 0.05, generator: Generator, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n 2"]:
    """Draw ``n`` points from an Archimedean spiral of outer radius one, evenly along its length.

    Args:
        n: How many points.
        turns: How many turns the spiral makes.
        noise: Standard deviation of normal noise.
        generator: Source of randomness.
        dtype: The floating dtype of the answer.

    Returns:
        The points.

    Example:
        >>> import torch
        >>> from monge.data import spiral
        >>> spiral(50, noise=0.0, generator=torch.Generator().manual_seed(0)).norm(dim=-1).max() <= 1
        tensor(True)
    """
    check_count("n", n)
    # Arc length grows as the square of the radius, so the root of a uniform number spreads the points evenly.
    radius = torch.rand(n, generator=generator, dtype=dtype).sqrt()
    return _jittered(_polar(radius[:, None], 2 * math.pi * turns * radius), noise, generator)


def checkerboard(
    n: int, *, squares: int = 4, generator: Generator, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n 2"]:
    """Draw ``n`` points uniformly from the black squares of a board over [-1, 1] x [-1, 1].

    Args:
        n: How many points.
        squares: How many squares there are along one side; an even number.
        generator: Source of randomness.
        dtype: The floating dtype of the answer.

    Returns:
        The points.

    Example:
        >>> import torch
        >>> from monge.data import checkerboard
        >>> checkerboard(50, generator=torch.Generator().manual_seed(0)).abs().max() <= 1
        tensor(True)
    """
    check_count("n", n)
    check_count("squares", squares, low=2)
    row = torch.randint(squares, (n,), generator=generator)
    column = 2 * torch.randint(squares // 2, (n,), generator=generator) + row % 2
    within = torch.rand(n, 2, generator=generator, dtype=dtype)
    return (torch.stack([column, row], dim=-1) + within) * (2 / squares) - 1


def _polar(radius: float | Tensor, angle: Tensor) -> Tensor:
    return radius * torch.stack([angle.cos(), angle.sin()], dim=-1)


def _jittered(points: Tensor, scale: float, generator: Generator) -> Tensor:
    """The points, each moved by normal noise of its own."""
    return points + scale * torch.randn(points.shape, generator=generator, dtype=points.dtype)

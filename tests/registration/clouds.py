"""Clouds to register: crooked lines, known motions, and clutter."""

from __future__ import annotations

import torch
from torch import Tensor

from draws import generator
from monge.registration import Rigid

__all__ = ["crooked", "error", "instance", "turned", "with_clutter"]


def crooked(count: int, d: int, g: torch.Generator) -> Tensor:
    """Points along a random crooked line."""
    knots = torch.randn(6, d, generator=g).double().cumsum(0)
    knots = (knots - knots.mean(0)) / (knots - knots.mean(0)).norm(dim=1).mean()
    k = torch.randint(0, 5, (count,), generator=g)
    along = torch.rand(count, 1, generator=g).double()
    thick = 0.02 * torch.randn(count, d, generator=g).double()
    return knots[k] * (1 - along) + knots[k + 1] * along + thick


def with_clutter(points: Tensor, count: int, g: torch.Generator) -> Tensor:
    """The points, and others all over the place."""
    d = points.shape[-1]
    box = 5.4 * points.std(0).max() * (torch.rand(count, d, generator=g).double() - 0.5)
    return torch.cat([points, points.mean(0) + box])


def turned(d: int, g: torch.Generator, scale: float = 1.0) -> Rigid:
    """A random motion."""
    q, r = torch.linalg.qr(torch.randn(d, d, generator=g).double())
    q = q * r.diagonal().sign()
    q[:, 0] *= torch.det(q).sign()
    return Rigid(q, torch.randn(d, generator=g).double(), torch.tensor(scale).double())


def instance(
    d: int, seed: int, *, count: int = 120, outliers: float = 0.4, noise: float = 0.0, scale: float = 1.0
) -> tuple[Tensor, Tensor, Rigid, Tensor]:
    """A cloud, the same after a random motion, and outliers in both: the given share of either cloud."""
    g = generator(seed)
    x = crooked(count, d, g)
    motion = turned(d, g, scale)
    y = motion(x) + noise * torch.randn(count, d, generator=g).double()
    extra = round(count * outliers / (1 - outliers))
    return with_clutter(x, extra, g), with_clutter(y[torch.randperm(count, generator=g)], extra, g), motion, x


def error(found: Rigid, true: Rigid, x: Tensor) -> float:
    """The largest distance between the images of the points."""
    return float((found(x) - true(x)).norm(dim=-1).max())

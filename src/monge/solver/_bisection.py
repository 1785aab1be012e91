"""Splitting points at medians, again and again, into groups of points that lie close together."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Groups", "bisected", "cosorted"]

# Steps of the power iteration for a principal direction: it only has to be long, not exact.
_POWER_STEPS = 4


class Groups(NamedTuple):
    """Points in an order in which every group lies together, and where groups begin and end."""

    order: Tensor
    bounds: Tensor


def bisected(points: Tensor, size: int, generator: torch.Generator) -> Groups:
    """Groups of at most ``size`` points, by medians along the difference of two random points of each part."""
    n, device = points.shape[0], points.device
    depth, bounds, leaf = _tree(n, size, device)
    order = torch.randperm(n, generator=generator).to(device)
    for level in range(depth):
        edges = bounds[:: 2 ** (depth - level)]
        part, counts = leaf >> (depth - level), edges[1:] - edges[:-1]
        drawn = torch.rand(2, len(counts), generator=generator, dtype=torch.float64).to(device)
        first, second = order[(drawn * counts).long() + edges[:-1]]
        along = points[first] - points[second]
        order = _sorted_within(order, (points[order] * along[part]).sum(-1), part)
    return Groups(order, bounds)


def cosorted(x: Tensor, y: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A bijection: both clouds are split alike, along a principal direction that they share, and leaves are paired."""
    n, device = x.shape[0], x.device
    depth, bounds, leaf = _tree(n, size, device)
    orders = [torch.randperm(n, generator=generator).to(device) for _ in range(2)]
    for level in range(depth):
        edges = bounds[:: 2 ** (depth - level)]
        part, counts = leaf >> (depth - level), (edges[1:] - edges[:-1])[:, None]
        centred = []
        for points, order in zip((x, y), orders, strict=True):
            held = points[order]
            means = held.new_zeros(len(counts), held.shape[1]).index_add(0, part, held) / counts
            centred.append(held - means[part])
        along = torch.randn(len(counts), x.shape[1], generator=generator).to(x)
        for _ in range(_POWER_STEPS):
            image = torch.zeros_like(along)
            for held in centred:
                image.index_add_(0, part, held * (held * along[part]).sum(-1, keepdim=True))
            along = image / image.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        orders = [
            _sorted_within(order, (held * along[part]).sum(-1), part)
            for order, held in zip(orders, centred, strict=True)
        ]
    perm = torch.empty(n, dtype=torch.long, device=device)
    perm[orders[0]] = orders[1]
    return perm


def _tree(n: int, size: int, device: torch.device) -> tuple[int, Tensor, Tensor]:
    """How often to split n points, the ends of the parts then, and the part of each place: sizes differ by one."""
    depth = ((n - 1) // size).bit_length()
    bounds = torch.arange(2**depth + 1, device=device) * n // 2**depth
    places = torch.arange(n, device=device)
    return depth, bounds, torch.searchsorted(bounds, places, right=True) - 1


def _sorted_within(order: Tensor, key: Tensor, part: Tensor) -> Tensor:
    """Every part of an order sorted by a key: parts are ranges of places, which stay where they are."""
    by_key = key.argsort(stable=True)
    return order[by_key[part[by_key].argsort(stable=True)]]

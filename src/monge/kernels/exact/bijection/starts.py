"""Potentials to start from: those of an entropic problem between fewer points, in single precision."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...stream import Points, ctransform, softmin

__all__ = ["starts"]

# Up to this dimension boxes of points stand for the points in them; above it, a sample does.
_BOXED, _SAMPLE = 3, 1000
# How often the boxes are halved, and how many half-steps each epsilon gets.
_LEVELS, _ITERATIONS = (8, 10, 12), (10, 10, 4)


class _Measure(NamedTuple):
    points: Tensor
    log_mass: Tensor

    def softmin(self, at: Tensor, potential: Tensor, epsilon: float) -> Tensor:
        """The soft c-transform of a potential on these points, at others."""
        return softmin(Points(at, self.points), self.log_mass + potential / epsilon, epsilon)


def starts(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Guesses of f and g in float64, for clouds (n, d); how good they are changes only the time."""
    n, centre = len(x), y.mean(0)
    size = max(float((x - centre).abs().max()), float((y - centre).abs().max()))
    x, y = (((cloud - centre) / size).float() for cloud in (x, y))
    mean = float(x.square().sum(-1).mean() + y.square().sum(-1).mean() - 2 * (x.mean(0) * y.mean(0)).sum())
    if not mean > 1e-12:
        f, g = x.new_zeros(n), x.new_zeros(n)
    elif x.shape[1] > _BOXED:
        f, g = _of_sample(x, y, mean)
    else:
        f, g = _of_boxes(x, y, mean)
    return f.double() * size**2, g.double() * size**2


def _of_sample(x: Tensor, y: Tensor, mean: float) -> tuple[Tensor, Tensor]:
    """Extends the potentials of a sample; then prices under which no row has a bargain."""
    source, count = torch.Generator().manual_seed(0), min(len(x), _SAMPLE)
    some = [cloud[torch.randperm(len(cloud), generator=source)[:count]] for cloud in (x, y)]
    mass = x.new_full((count,), -math.log(count))
    rows, columns = (_Measure(points, mass) for points in some)
    g, epsilon = x.new_zeros(count), mean
    while epsilon > 5e-3 * mean:
        epsilon = max(epsilon / 3, 5e-3 * mean)
        for _ in range(2):
            f = columns.softmin(rows.points, g, epsilon)
            g = rows.softmin(columns.points, f, epsilon)
    f = columns.softmin(x, g, epsilon)
    return f, ctransform(Points(y, x), f)[0]


def _of_boxes(x: Tensor, y: Tensor, mean: float) -> tuple[Tensor, Tensor]:
    """Potentials between the centres of ever smaller boxes, with epsilon about the square of their size."""
    n, d = x.shape
    levels = [level for level in _LEVELS if 2 ** (level + 1) <= n] or [max(int(math.log2(n)) - 1, 0)]
    below, epsilon = None, mean
    for level, iterations, rows, columns in zip(
        levels, _ITERATIONS, _boxes(x, levels), _boxes(y, levels), strict=False
    ):
        g = below[0].softmin(columns.points, below[1], epsilon) if below else torch.zeros_like(columns.log_mass)
        end = 2 * mean / 2 ** (level * 2 / d)
        f = columns.softmin(rows.points, g, epsilon)
        while epsilon > end:
            epsilon = max(epsilon / 2, end)
            for _ in range(iterations):
                f = columns.softmin(rows.points, g, epsilon)
                g = rows.softmin(columns.points, f, epsilon)
        below = rows, f
    return columns.softmin(x, g, epsilon), rows.softmin(y, f, epsilon)


def _boxes(points: Tensor, levels: list[int]) -> list[_Measure]:
    """Points halved at the median of the longest side of their box, so many times: the centre and mass of each box."""
    n, d = points.shape
    label, found = torch.zeros(n, dtype=torch.int64), []
    for level in range(levels[-1] + 1):
        count = torch.bincount(label, minlength=2**level)
        if level in levels:
            sums = points.new_zeros(2**level, d).index_add_(0, label, points)
            found.append(_Measure(sums / count[:, None], (count / n).log().to(points.dtype)))
        place = label[:, None].expand(n, d)
        low = points.new_full((2**level, d), math.inf).scatter_reduce_(0, place, points, "amin")
        high = points.new_full((2**level, d), -math.inf).scatter_reduce_(0, place, points, "amax")
        side = (high - low).argmax(1)[label]
        order = points.gather(1, side[:, None])[:, 0].argsort()
        order = order[label[order].argsort(stable=True)]
        rank = torch.empty_like(label)
        rank[order] = torch.arange(n) - (count.cumsum(0) - count)[label[order]]
        label = 2 * label + (rank >= count[label] // 2)
    return found

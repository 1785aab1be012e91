"""Motions that lay a few points of one cloud on congruent points of the other."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .transformation import Rigid

__all__ = ["Lengths", "bases", "congruent", "laid"]

PAIRS, TUPLES = {2: 10_000, 3: 6_000}, {2: 10_000, 3: 10_000}  # most of them for a base
RATIOS = (0.45, 2.2)  # of a scale that is not known
LONG = (0.2, 0.5)  # the first edge of a base
OTHERS = (0.6, 1.4)  # the other edges, in lengths of the first


class Lengths(NamedTuple):
    """All distances between some points; those of ordered pairs also in ascending order."""

    between: Float[Tensor, "m m"]
    ordered: Float[Tensor, " pairs"]
    pair: Int[Tensor, " pairs"]

    @classmethod
    def of(cls, points: Float[Tensor, "m d"]) -> Lengths:
        """The distances."""
        between = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        return cls(between, *between.flatten().sort())


def bases(
    points: Float[Tensor, "n d"], weight: Float[Tensor, " n"], count: int, generator: torch.Generator | None
) -> Int[Tensor, "count k"]:
    """Pairs in the plane, triples in space, d points in d dimensions: near each other, and far from one line."""
    n, d = points.shape
    low, high = (math.log(length) for length in LONG)
    long = torch.exp(low + (high - low) * torch.rand(count, 1, generator=generator))
    chosen = [torch.multinomial(weight, count, replacement=True, generator=generator)]
    first = points[chosen[0]]
    way = points - first[:, None]  # from the first point, without what the others span
    off = torch.log(way.norm(dim=-1) / long) / 0.1
    liked = weight * torch.exp(-off.square() / 2) + 1e-12
    inside = torch.ones(count, n)
    edge = None
    for k in range(1, max(2, d)):
        liked[torch.arange(count)[:, None], torch.stack(chosen, -1)] = 0
        chosen.append(torch.multinomial(liked, 1, generator=generator)[:, 0])
        new = chosen[-1]
        direction = torch.nn.functional.normalize(way[torch.arange(count), new], dim=-1)
        edge = (points[new] - first).norm(dim=-1, keepdim=True) if edge is None else edge
        if k == 1:
            inside = _between((points - first[:, None]).norm(dim=-1), edge)
        inside = inside * _between((points - points[new][:, None]).norm(dim=-1), edge)
        way = way - (way @ direction[..., None]) * direction[:, None]
        liked = weight * inside * way.square().sum(-1) + 1e-12
    return torch.stack(chosen, -1)


def _between(distance: Tensor, edge: Tensor) -> Tensor:
    return ((distance > OTHERS[0] * edge) & (distance < OTHERS[1] * edge)).float()


def congruent(
    base: Float[Tensor, "k d"], lengths: Lengths, tolerance: float, scale: bool, generator: torch.Generator | None
) -> Int[Tensor, "t k"]:
    """Ordered tuples of the other cloud with the distances of the base, or in proportion to them."""
    edges, m, d = torch.cdist(base, base), len(lengths.between), base.shape[-1]
    edge = float(edges[0, 1])
    low, high = (
        (max(RATIOS[0] * edge, 2 * tolerance), RATIOS[1] * edge) if scale else (edge - tolerance, edge + tolerance)
    )
    start, end = torch.searchsorted(lengths.ordered, torch.tensor([low, high])).tolist()
    found = lengths.pair[start + _drawn(end - start, PAIRS.get(d, 3_000), generator)]
    ratio = lengths.between.flatten()[found] / edge
    found = torch.stack([found // m, found % m], -1)
    for k in range(2, len(base)):
        fits = torch.ones(len(found), m, dtype=torch.bool)
        for j in range(k):
            if scale:
                near = lengths.between[found[:, j]] - edges[j, k] * ratio[:, None]
                fits &= near.abs() < tolerance
            else:
                fits &= ((lengths.between - edges[j, k]).abs() < tolerance)[found[:, j]]
        row, new = fits.nonzero(as_tuple=True)
        few = _drawn(len(row), TUPLES.get(d, 2_000), generator)
        row, new = row[few], new[few]
        found, ratio = torch.cat([found[row], new[:, None]], -1), ratio[row]
    return found


def _drawn(count: int, most: int, generator: torch.Generator | None) -> Tensor:
    """All indices, or some."""
    return torch.arange(count) if count <= most else torch.randperm(count, generator=generator)[:most]


def laid(base: Float[Tensor, "k d"], tuples: Float[Tensor, "t k d"], scale: bool) -> Rigid:
    """The motions that lay the base on every tuple: centre on centre, frame on frame."""
    centre, goal = base.mean(0), tuples.mean(1)
    rotation = _frame(tuples) @ _frame(base[None]).mT
    factor = tuples.new_ones(len(tuples))
    if scale:
        factor = ((tuples - goal[:, None]).square().sum((1, 2)) / (base - centre).square().sum()).sqrt()
    translation = goal - factor[:, None] * (rotation @ centre)
    return Rigid._make(rotation=rotation, translation=translation, scale=factor)


def _frame(tuples: Float[Tensor, "t k d"]) -> Float[Tensor, "t d d"]:
    """Right-handed axes: along the edges from the first point, and the last one normal to them all."""
    d = tuples.shape[-1]
    axes: list[Tensor] = []
    for k in range(1, d):
        way = tuples[:, k] - tuples[:, 0]
        for axis in axes:
            way = way - (way * axis).sum(-1, keepdim=True) * axis
        axes.append(torch.nn.functional.normalize(way, dim=-1))
    if d == 2:
        normal = torch.stack([-axes[0][:, 1], axes[0][:, 0]], -1)
    elif d == 3:
        normal = torch.linalg.cross(*axes)
    else:
        flat = torch.stack(axes, -1) if axes else tuples.new_ones(len(tuples), d, 0)
        kept = [[j for j in range(d) if j != k] for k in range(d)]
        normal = torch.stack([(-1) ** (d - 1 + k) * torch.linalg.det(flat[:, kept[k]]) for k in range(d)], -1)
    return torch.stack([*axes, normal], -1)

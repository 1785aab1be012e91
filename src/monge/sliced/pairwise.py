"""All sliced distances between many clouds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import gap_power
from monge._checks import check_batches, check_number, check_points, check_same, check_weights
from monge._users_arrays import takes_arrays
from monge.errors import ShapeError
from monge.kernels.line import levels, staircase

from ._aligned_clouds import Clouds, check_theta, of_mass_one
from ._over_slices import chunks
from .directions import directions_for
from .line import Balanced
from .slicer import LinearSlicer

__all__ = ["pairwise_sliced_wasserstein"]


@takes_arrays
@torch.no_grad()
def pairwise_sliced_wasserstein(
    clouds: Sequence[Float[Tensor, "*b _ d"]],
    weights: Sequence[Float[Tensor, "*b _"] | None] | None = None,
    *,
    p: float = 2.0,
    slices: int = 128,
    theta: Float[Tensor, "*b slices d"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*b k k"]:
    """The matrix of sliced Wasserstein distances between K clouds; each cloud is sorted only once on every slice.

    All pairs use the same directions, so the matrix is an exact pseudo-metric. Clouds of one size with equal weights
    are compared by one matrix product per chunk of slices (p = 2) or by one batched distance; other clouds are compared
    by merging their sorted levels. The matrix has no gradient; for a loss use `sliced_wasserstein`.

    Args:
        clouds: K clouds of any sizes in one space; leading dimensions are problems of a batch.
        weights: Non-negative weights for each cloud, or None for equal ones; scaled to mass one.
        p: Order, at least 1.
        slices: How many directions to draw.
        theta: Directions to use instead.
        generator: Source of the directions.

    Returns:
        Symmetric matrix of rooted distances, zero on the diagonal.

    Raises:
        ShapeError: No cloud, or clouds of different dimension.

    Example:
        >>> import torch
        >>> clouds = [torch.zeros(4, 2), torch.ones(4, 2), torch.ones(6, 2)]
        >>> pairwise_sliced_wasserstein(clouds, slices=2, generator=torch.Generator().manual_seed(0))
        tensor([[0., 1., 1.],
                [1., 0., 0.],
                [1., 0., 0.]])
    """
    check_number("p", float(p), low=1.0)
    if not clouds:
        raise ShapeError("clouds must hold at least one cloud, but is empty.")
    first, d, batches = clouds[0], clouds[0].shape[-1], {}
    held = [None] * len(clouds) if weights is None else list(weights)
    for k, (cloud, weight) in enumerate(zip(clouds, held, strict=True)):
        name = f"clouds[{k}]"
        check_points(name, cloud)
        check_same(**{"clouds[0]": first, name: cloud})
        if cloud.shape[-1] != d:
            raise ShapeError(f"{name} must have shape (n, {d}), but has {tuple(cloud.shape)}.")
        batches[name] = cloud.shape[:-2]
        if weight is not None:
            check_weights(f"weights[{k}]", weight, cloud.shape[-2])
            batches[f"weights[{k}]"] = weight.shape[:-1]
    if theta is None:
        theta = directions_for(first, slices, generator)
    check_theta(theta, d)
    batch = check_batches(theta=theta.shape[:-2], **batches)
    slicer = LinearSlicer(theta)
    points = [slicer._prepared(Clouds(first, cloud)).y.expand(*batch, *cloud.shape[-2:]) for cloud in clouds]
    unit = torch.stack([side.abs().amax((-1, -2)) for side in points]).amax(0)[..., None, None]
    unit = torch.where(unit > 0, unit, 1)  # powers stay in range
    points = [side / unit for side in points]
    held = [
        None if w is None else of_mass_one(w, side[..., 0].double())[..., None, :]
        for side, w in zip(points, held, strict=True)
    ]
    alike = all(w is None for w in held) and len({cloud.shape[-2] for cloud in clouds}) == 1
    total = torch.zeros(*batch, len(clouds), len(clouds), dtype=torch.float64, device=first.device)
    for chunk in chunks(slicer.count, 3 * batch.numel() * sum(cloud.shape[-2] for cloud in clouds), 8):
        ordered = [slicer._coordinates(cloud, chunk).sort(dim=-1, stable=True) for cloud in points]
        if alike:
            total += _alike(torch.stack([values.flatten(-2) for values, _ in ordered], -2), p) / first.shape[-2]
            continue
        level = [levels(w, order) for w, (_, order) in zip(held, ordered, strict=True)]
        for k, l in combinations(range(len(clouds)), 2):
            i, j, mass = staircase(level[k], level[l])
            gap = ordered[k].values.gather(-1, i) - ordered[l].values.gather(-1, j)
            total[..., k, l] += (mass * gap_power(gap.double(), p)).sum((-1, -2))
            total[..., l, k] = total[..., k, l]
    lost = (total < torch.finfo(total.dtype).tiny).reshape(-1, *total.shape[-2:]).any(0)
    for k, l in lost.tril(-1).nonzero().tolist():  # powers that vanish between clouds that are apart are refused
        Balanced(p)._costs(slicer._lines(Clouds(points[k].double(), points[l].double()))._replace(a=held[k], b=held[l]))
    return (unit * (total / slicer.count).pow(1 / p)).to(first.dtype)


def _alike(rows: Tensor, p: float) -> Tensor:
    """Sums of |difference|^p between all rows."""
    if p != 2:
        return torch.cdist(rows, rows, p=p).double().pow(p)
    rows = (rows - rows.mean(-2, keepdim=True)).double()
    gram = rows @ rows.mT
    square = gram.diagonal(dim1=-2, dim2=-1)
    found = (square[..., :, None] + square[..., None, :] - 2 * gram).clamp_min(0)
    found.diagonal(dim1=-2, dim2=-1).zero_()
    return found

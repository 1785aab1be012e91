"""Clouds as vectors whose distances are sliced Wasserstein distances."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_points, check_same
from monge._users_arrays import takes_arrays
from monge.kernels.line import levels

from ._aligned_clouds import aligned, check_theta, midpoints, of_mass_one
from .slicer import ALL, LinearSlicer

__all__ = ["sliced_embedding"]


@takes_arrays
def sliced_embedding(
    x: Float[Tensor, "*b n d"],
    a: Float[Tensor, "*b n"] | None = None,
    *,
    theta: Float[Tensor, "*b slices d"],
    size: int | None = None,
    p: float = 2.0,
) -> Float[Tensor, "*b slices size"]:
    r"""Quantiles of every slice at common levels, scaled so that the l_p distance of two embeddings is $SW_p$.

    The embedding is $e_{lk} = (LM)^{-1/p} F_l^{-1}((k + \tfrac12) / M)$. Each cloud is sorted once, and then a distance
    is a distance of vectors. So every method for vectors, such as nearest neighbours, principal components or means,
    can be used for clouds. It is exact for clouds of M points of equal weights, and otherwise up to the grid of levels.

    Args:
        x: Clouds.
        a: Non-negative weights, equal if None.
        theta: Directions, shared by all clouds that are compared.
        size: M; the number of points if None.
        p: Order, at least 1.

    Returns:
        The embedding, differentiable in the points.

    Source:
        Kolouri, Zou, Rohde, Sliced Wasserstein kernels for probability distributions (arXiv 1511.03198).

    Example:
        >>> import torch
        >>> from monge.sliced import directions, sliced_wasserstein
        >>> g = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(50, 3, generator=g), torch.randn(50, 3, generator=g)
        >>> theta = directions(30, 3, generator=g)
        >>> far = sliced_embedding(x, theta=theta) - sliced_embedding(y, theta=theta)
        >>> torch.allclose(far.norm(), sliced_wasserstein(x, y, theta=theta).distance)
        True
    """
    check_points("theta", theta)
    check_same(x=x, theta=theta)
    check_number("p", float(p), low=1.0)
    n, d = x.shape[-2:]
    check_theta(theta, d)
    size = n if size is None else size
    check_number("size", size, low=1)
    dtype, slicer = x.dtype, LinearSlicer(theta)
    x, _, a, _ = aligned(x, x, a, slices=slicer._batch).wide()
    ordered, order = slicer._coordinates(x, ALL).sort(dim=-1, stable=True)
    if a is not None or size != n:
        level = levels(None if a is None else of_mass_one(a, x[..., 0].double())[..., None, :], order).contiguous()
        wanted = midpoints(size, level)
        index = torch.searchsorted(level, wanted.expand(*level.shape[:-1], size).contiguous())
        ordered = ordered.gather(-1, index)
    return (ordered / (theta.shape[-2] * size) ** (1 / p)).to(dtype)

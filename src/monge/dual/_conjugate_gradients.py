"""Conjugate gradients on the problems of a batch, each of which stops on its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge.problem.marginal import column


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right: Float[Tensor, "*b m"],
    scale: Float[Tensor, "*b m"],
    share: float | Float[Tensor, "*b"],
    max_iter: int,
) -> tuple[Float[Tensor, "*b m"], Bool[Tensor, "*b"]]:
    """The solution of a semi-definite system, and which problems are done.

    Args:
        product: The matrix.
        right: The right side.
        scale: The inverse of a diagonal near that of the matrix.
        share: How much of the square of the residual may be left.
        max_iter: Limit of the number of iterations.
    """
    y, residual = torch.zeros_like(right), right
    z = scale * residual
    direction, rho = z, (residual * z).sum(-1)
    goal = rho * share
    active = rho > goal
    for _ in range(max_iter):
        if not bool(active.any()):
            break
        image = product(direction)
        curvature = (direction * image).sum(-1)
        # A direction without curvature is rounding noise in the kernel: that problem is done.
        active = active & (curvature > 0)
        step = column(torch.where(active, rho / torch.where(active, curvature, 1.0), 0.0))
        y, residual = y + step * direction, residual - step * image
        z = scale * residual
        rho, old = torch.where(active, (residual * z).sum(-1), 0.0), rho
        direction = z + column(torch.where(active, rho / torch.where(active, old, 1.0), 0.0)) * direction
        active = active & (rho > goal)
    return y, ~active

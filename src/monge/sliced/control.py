"""Control variates of sliced distances: quadratic forms of the direction, whose mean over the sphere is a trace."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._mean import chunks

__all__ = ["CONTROL_VARIATES", "Controlled", "controlled"]

CONTROL_VARIATES = ("lower", "upper", "quadratic")


class Controlled(NamedTuple):
    """A mean over directions, and its terms, after what the control variates explain is taken away."""

    cost: Tensor
    slices: Tensor


def controlled(
    cost: Tensor,
    slices: Tensor,
    clouds: tuple[Tensor, Tensor],
    weights: tuple[Tensor | None, Tensor | None],
    theta: Tensor,
    kind: str,
) -> Controlled:
    r"""The estimate less $\sum_k \gamma_k (c_k(\theta) - \mathbb{E} c_k)$, with $\gamma$ fitted by least squares.

    $c_1 = \langle\theta, m_x - m_y\rangle^2$ and the projected variances $c_2$, $c_3$ of the two clouds: no covariance
    is formed, and $\mathbb{E} c$ is a squared norm over d. The fitted coefficients are constants of the gradient.
    """
    mean_x, factor_x = _centred(clouds[0], weights[0])
    mean_y, factor_y = _centred(clouds[1], weights[1])
    shift = (mean_x - mean_y)[..., None, :]
    roots = [side.expand(*slices.shape[:-1], *side.shape[-2:]) for side in (shift, factor_x, factor_y)]
    if kind == "lower":
        roots = roots[:1]
    elif kind == "upper":
        roots = [torch.cat(roots, -2)]
    with torch.no_grad():
        spread = torch.stack([_forms(root, theta) - root.square().sum((-1, -2))[..., None] / theta.shape[-1]
                              for root in roots], -1)  # fmt: skip
        middle = spread.mean(-2, keepdim=True)
        wanted = (slices - slices.mean(-1, keepdim=True))[..., None]
        gamma = torch.linalg.pinv((spread - middle).double(), rtol=1e-9) @ wanted.double()
        gamma = gamma[..., 0].to(spread.dtype)  # (*b, k)
        left = slices - (spread @ gamma[..., None])[..., 0]
    moment = theta.mT @ theta / theta.shape[-2]
    moment = moment - torch.eye(theta.shape[-1], dtype=theta.dtype, device=theta.device) / theta.shape[-1]
    excess = torch.stack([((root @ moment) * root).sum((-1, -2)) for root in roots], -1)
    return Controlled(cost - (gamma * excess).sum(-1), left)


def _centred(points: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean, and a matrix R with R^T R the covariance."""
    if weights is None:
        mean = points.mean(-2)
        return mean, (points - mean[..., None, :]) / points.shape[-2] ** 0.5
    weights = weights.to(points.dtype)
    share = (weights / weights.sum(-1, keepdim=True))[..., None]
    mean = (share * points).sum(-2)
    # A root of zero has no slope; absent points have none either.
    root = torch.where(share > 0, share, 1).sqrt() * (share > 0)
    return mean, (points - mean[..., None, :]) * root


def _forms(root: Tensor, theta: Tensor) -> Tensor:
    """theta^T R^T R theta for every direction, (*b, L)."""
    scalars = root.shape[:-1].numel()
    parts = [
        (theta[..., chunk, :] @ root.transpose(-1, -2)).square().sum(-1)
        for chunk in chunks(theta.shape[-2], scalars, root.element_size())
    ]
    return torch.cat(parts, -1)

"""Control variates of sliced distances: quadratic forms of the direction, whose mean over the sphere is a trace."""

from __future__ import annotations

import torch
from torch import Tensor

from ._aligned_clouds import Clouds, centred
from ._over_slices import chunks

CONTROL_VARIATES = ("lower", "upper", "quadratic")


def controlled(cost: Tensor, slices: Tensor, clouds: Clouds, theta: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    r"""The mean and its terms less $\sum_k \gamma_k (c_k(\theta) - \mathbb{E} c_k)$, $\gamma$ fitted by least squares.

    $c_1 = \langle\theta, m_x - m_y\rangle^2$ and the projected variances $c_2$, $c_3$ of the two clouds: no covariance
    is formed, and $\mathbb{E} c$ is a squared norm over d. The fitted coefficients are constants of the gradient.
    """
    (mean_x, factor_x), (mean_y, factor_y) = centred(clouds.x, clouds.a), centred(clouds.y, clouds.b)
    roots = [r.expand(*slices.shape[:-1], *r.shape[-2:]) for r in (mean_x - mean_y, factor_x, factor_y)]
    roots = {"lower": roots[:1], "upper": [torch.cat(roots, -2)], "quadratic": roots}[kind]
    size, d = theta.shape[-2:]
    moment = theta.mT @ theta / size - torch.eye(d).to(theta) / d
    with torch.no_grad():
        spread = torch.stack([_forms(root, theta) - root.square().sum((-1, -2))[..., None] / d
                              for root in roots], -1)  # fmt: skip
        middle = spread.mean(-2, keepdim=True)
        wanted = (slices - slices.mean(-1, keepdim=True))[..., None]
        gamma = torch.linalg.pinv((spread - middle).double(), rtol=1e-9) @ wanted.double()
        gamma = gamma[..., 0].to(spread.dtype)  # (*b, k)
        left = slices - (spread @ gamma[..., None])[..., 0]
    excess = torch.stack([((root @ moment) * root).sum((-1, -2)) for root in roots], -1)
    return cost - (gamma * excess).sum(-1), left


def _forms(root: Tensor, theta: Tensor) -> Tensor:
    """theta^T R^T R theta for every direction, (*b, L)."""
    parts = chunks(theta.shape[-2], root.shape[:-1].numel(), root.element_size())
    return torch.cat([(theta[..., chunk, :] @ root.mT).square().sum(-1) for chunk in parts], -1)

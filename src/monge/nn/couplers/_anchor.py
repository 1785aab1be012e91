"""Couplings from scores, for couplers whose scores are dot products."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...coupling import PotentialCoupling
from ...geometry import PointCloud

__all__ = ["row_anchored"]


def row_anchored(q: Tensor, k: Tensor, price: Tensor, a: Tensor, b: Tensor) -> PotentialCoupling:
    """diag(a) softmax_j(q_i·k_j + price_j) as potentials; the softmax is over the support of b.

    Args:
        q: queries, already scaled.
        k: keys.
        price: one number per key; ignored where b is zero.
        a: source weights.
        b: target weights, a reference that the potentials absorb.
    """
    geometry = PointCloud._make(x=q, y=k, cost="dot", p=2.0, power=None)
    log_b = b.log()
    g = price.masked_fill(b == 0, 0.0) - log_b.masked_fill(b == 0, 0.0)
    f = geometry._softmin(g, log_b, 1.0)
    f = f.masked_fill((a == 0) | (f == math.inf), 0.0)
    # Queries without a single key carry no mass at all.
    a = torch.where((b > 0).any(-1, keepdim=True), a, torch.zeros_like(a))
    return PotentialCoupling._make(geometry=geometry, f=f, g=g, a=a, b=b, epsilon=f.new_ones(()), link="exp")

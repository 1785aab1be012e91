"""The definition: the assignment problem of the matrix of all costs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..assignment import reference

__all__ = ["bijection"]


def bijection(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """The permutation and potentials of two clouds (n, d) in float64."""
    cost = torch.stack([(point - y).square().sum(-1) for point in x])
    _, *parts = reference.assignment(cost[None])
    perm, f, g = (part[0] for part in parts)
    return perm, f, g

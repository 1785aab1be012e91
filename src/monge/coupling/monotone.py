"""A plan on a line."""

from __future__ import annotations

from monge._value import value

from .base import Coupling
from .sparse import SparseCoupling

__all__ = ["MonotoneCoupling"]


@value
class MonotoneCoupling(SparseCoupling):
    """The staircase between two sorted lists of atoms: at most n + m - 1 pieces, some of which may be empty.

    On a line, for every convex cost of the difference, it is optimal; indices are in the original order of the points.

    Example:
        >>> import torch
        >>> from monge.coupling import MonotoneCoupling
        >>> i, j = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
        >>> MonotoneCoupling(i, j, torch.tensor([0.3, 0.2, 0.5]), 2, 2).marginals()
        (tensor([0.5000, 0.5000]), tensor([0.3000, 0.7000]))
    """

    def _transpose(self) -> Coupling:
        return MonotoneCoupling._make(i=self.j, j=self.i, w=self.w, n=self.m, m=self.n)

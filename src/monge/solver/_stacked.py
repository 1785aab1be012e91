"""Exact answers to the problems of a batch, one after the other, as one answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monge.coupling import SparseCoupling
from monge.kernels import Basis

__all__ = ["stacked"]


def stacked(
    bases: Sequence[Basis], batch: torch.Size, like: Tensor, n: int, m: int
) -> tuple[SparseCoupling, Tensor, Tensor]:
    """The plans as one, padded by entries of zero mass to the length of the longest, and the potentials."""
    longest = max((len(basis.w) for basis in bases), default=0)
    f, g, w = like.new_empty(len(bases), n), like.new_empty(len(bases), m), like.new_zeros(len(bases), longest)
    i, j = torch.zeros_like(w, dtype=torch.long), torch.zeros_like(w, dtype=torch.long)
    for k, basis in enumerate(bases):
        used = len(basis.w)
        i[k, :used], j[k, :used], w[k, :used], f[k], g[k] = basis
    i, j, w, f, g = (part.reshape(*batch, part.shape[-1]) for part in (i, j, w, f, g))
    return SparseCoupling._make(i=i, j=j, w=w, n=n, m=m), f, g

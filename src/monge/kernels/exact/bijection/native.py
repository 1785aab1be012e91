"""The C++ twin: an auction on short lists, from prices that an entropic problem of fewer points gives."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._extension import call
from .starts import starts

__all__ = ["bijection"]


def bijection(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """The permutation and potentials of two clouds (n, d) in float64; None if it was given up."""
    n = len(x)
    perm = torch.empty(n, dtype=torch.int64)
    f, g = torch.empty(2, n, dtype=torch.float64)
    given = (t.contiguous().numpy() for t in (x, y, *starts(x, y), perm, f, g))
    return (perm, f, g) if call("bijection", *given, torch.get_num_threads()) else None

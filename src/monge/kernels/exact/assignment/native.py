"""The C++ twin: a short auction, then shortest augmenting paths; problems in parallel."""

from __future__ import annotations

import torch
from torch import Tensor

from ..._extension import call

__all__ = ["assignment"]


def assignment(cost: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    """The number of an infeasible problem or -1, then permutations and potentials of a batch (b, n, n)."""
    perm = torch.empty(cost.shape[:2], dtype=torch.int64)
    f, g = torch.empty(2, *cost.shape[:2], dtype=torch.float64)
    given = (t.numpy() for t in (cost.contiguous(), perm, f, g))
    return call("assignment", *given, torch.get_num_threads()), perm, f, g

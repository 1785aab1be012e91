"""The C++ twin: one pass over all pairs, sums in extended precision; problems in parallel."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..._extension import call

__all__ = ["proof"]


def proof(
    cost: Tensor, i: Tensor, j: Tensor, w: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor
) -> tuple[Tensor, ...]:
    """Centred potentials, then five numbers for each problem."""
    batch, n, m = tuple(f.shape[:-1]), f.shape[-1], g.shape[-1]

    def flat(t: Tensor, *core: int, shared: bool = False) -> np.ndarray:
        """One array for each problem, or one for all; NumPy reshapes in a fraction of the time that torch takes."""
        array = t.numpy()
        lead = array.shape[: array.ndim - len(core)]
        if lead != batch and not (shared and math.prod(lead) == 1):
            array = np.broadcast_to(array, (*batch, *core))
        return np.ascontiguousarray(array.reshape(-1, *core))

    entries = (flat(t, t.shape[-1]) for t in (i, j, w))
    sides = (flat(t, size, shared=True) for t, size in ((a, n), (b, m)))
    moved = [flat(t, t.shape[-1]).copy() for t in (f, g)]
    told = np.empty((math.prod(batch), 5))
    call("proof", flat(cost, n, m, shared=True), *entries, *sides, *moved, told, torch.get_num_threads())
    f, g = (torch.from_numpy(side.reshape(*batch, side.shape[-1])) for side in moved)
    return f, g, *torch.from_numpy(told.reshape(*batch, 5)).unbind(-1)

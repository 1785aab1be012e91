"""Small balanced problems that are known to be good: one call solves and proves them, and nothing is checked again."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..._extension import call
from ...stream import Matrix, Points
from ..proof import Proof
from .native import OPTIMAL

__all__ = ["MOST", "small"]

# Points of a side up to which shortest augmenting paths are faster than a tree.
MOST = 64


def small(
    cost: Matrix | Points, a: Tensor, b: Tensor, batch: tuple[int, ...], rounding: float
) -> tuple[Tensor, Tensor, Tensor, Proof] | None:
    """Entries (i, j, w) of optimal plans and what they prove; None where a problem has none, or there is no problem.

    All is in float64 on the processor. NumPy shapes arrays in a fraction of the time of torch, which counts here.
    """
    n, m = cost.shape

    def flat(t: Tensor, *core: int, shared: bool = False) -> np.ndarray:
        array = t.numpy()
        lead = array.shape[: array.ndim - len(core)]
        if lead != batch and not (shared and math.prod(lead) == 1):
            array = np.broadcast_to(array, (*batch, *core))
        return np.ascontiguousarray(array.reshape(-1, *core))

    problems, room = math.prod(batch), n + m - 1
    if not problems:
        return None
    status, told = np.empty(problems, dtype=np.int64), np.empty((problems, 5))
    i, j = np.zeros((2, problems, room), dtype=np.int64)
    w, f, g = np.zeros((problems, room)), np.empty((problems, n)), np.empty((problems, m))
    answers = (status, i, j, w, f, g, told)
    sides = flat(a, n), flat(b, m)
    hints = (None,) * 5
    if isinstance(cost, Matrix):
        matrix = flat(cost.cost, n, m, shared=True)
        call("simplex_matrix", matrix, *sides, *hints, -1, rounding, *answers, torch.get_num_threads())
    else:
        x, y = (flat(t, *t.shape[-2:], shared=True) for t in (cost.x, cost.y))
        rule = (cost.kind == "dot", float(cost.p), float(cost.power))
        call("simplex_points", x, y, *rule, *sides, *hints, -1, rounding, *answers, torch.get_num_threads())
    if (status != OPTIMAL).any():
        return None
    most = int((w > 0).sum(-1).max())

    def told_as(array: np.ndarray, width: int) -> Tensor:
        return torch.from_numpy(array[:, :width].reshape(*batch, width))

    numbers = torch.from_numpy(told.reshape(*batch, 5)).unbind(-1)
    return told_as(i, most), told_as(j, most), told_as(w, most), Proof(told_as(f, n), told_as(g, m), *numbers)

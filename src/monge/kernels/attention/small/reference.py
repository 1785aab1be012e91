"""The definition: half-steps in the log domain."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["small_plans_reference"]


def small_plans_reference(
    scores: Float[Tensor, "*b n n"], n_half: int, end_on: str = "rows"
) -> Float[Tensor, "*b n n"]:
    """Differentiable step by step, to any order; NaN where a side has nothing to normalise."""
    logs = scores
    for left in range(n_half, 0, -1):
        side = -1 if (left % 2 == 1) == (end_on == "rows") else -2
        logs = logs - torch.logsumexp(logs, side, keepdim=True)
    return logs.exp()

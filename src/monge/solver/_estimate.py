"""How much work an entropic problem is, before it is solved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from monge.errors import InfeasibleError

if TYPE_CHECKING:
    from monge.problem import Linear

__all__ = ["relative_epsilon"]


def relative_epsilon(problem: Linear) -> float:
    """The smallest epsilon of a batch, in units of the mean cost; one if that says nothing."""
    if 0 in problem.batch_shape:
        return 1.0
    with torch.no_grad():
        try:
            mean = problem.geometry.mean(problem.a, problem.b).abs()
        except InfeasibleError:
            return 1.0
        share = problem.epsilon / mean
    if share.numel() == 0:
        return 1.0
    return min(1.0, float(torch.nan_to_num(share, nan=1.0, posinf=1.0).min()))

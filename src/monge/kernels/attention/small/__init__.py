"""Small square matrices that a counted number of half-steps has made doubly stochastic."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable

from ..._extension import reads
from .native import MOST_TOKENS, loop
from .reference import small_plans_reference

__all__ = ["small_plans", "small_plans_reference"]


@transformable
def small_plans(scores: Float[Tensor, "*b n n"], n_half: int, end_on: str = "rows") -> Float[Tensor, "*b n n"]:
    r"""$\mathrm{diag}(u) e^S \mathrm{diag}(v)$ after ``n_half`` half-steps, each of which normalises one side.

    On the processor, matrices of up to 32 rows stand side by side in the lanes of a register. The backward pass
    computes the half-steps again and goes back through each of them: its gradient is that of what was returned.

    Args:
        scores: S; -inf forbids a pair.
        n_half: Half-steps, at least 1; the two sides take turns.
        end_on: "rows" or "columns", the side of the last half-step, whose sums are one.

    Returns:
        One matrix for each of scores; NaN where there is nothing to normalise.

    Example:
        >>> import torch
        >>> from monge.kernels import small_plans
        >>> small_plans(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 9)
        tensor([[0.3775, 0.6225],
                [0.6225, 0.3775]])
    """
    n = scores.shape[-1]
    if scores.numel() == 0 or n > MOST_TOKENS or not reads(scores):
        return small_plans_reference(scores, n_half, end_on)
    return loop(scores.reshape(-1, n, n), n_half, end_on).reshape(scores.shape)

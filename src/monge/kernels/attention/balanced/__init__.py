"""Values read through a plan that a counted number of half-steps has balanced."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable

from .._tiles import takes
from .reference import balanced_apply_reference, half_steps, log_sum_exp, row_shares
from .tiled import balanced

__all__ = ["balanced_apply", "balanced_apply_reference", "half_steps", "log_sum_exp", "row_shares"]


@transformable
def balanced_apply(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    a: Float[Tensor, "*#b n"],
    b: Float[Tensor, "*#b m"],
    n_half: int,
) -> Float[Tensor, "*b n c"]:
    r"""diag(1/a) P V for the plan P of ``n_half`` half-steps on the scores q k^T, the last one on the rows.

    On the processor a few heads at a time are balanced by scaling in cache, in forward and in backward, and no more
    than that is stored; elsewhere the definition runs in the log domain.

    Args:
        q: queries, divided by epsilon.
        k: keys.
        v: values.
        a: weights of the queries; zero is absence, and reads zero.
        b: weights of the keys; zero is absence.
        n_half: half-steps, at least 1, which is softmax attention.

    Returns:
        One weighted mean of the values per query, with gradients through all steps.

    Example:
        >>> import torch
        >>> from monge.kernels import balanced_apply
        >>> q, k, v = torch.eye(2), 3 * torch.eye(2), torch.eye(2)
        >>> balanced_apply(q, k, v, torch.full((2,), 0.5), torch.full((2,), 0.5), 5)
        tensor([[0.9526, 0.0474],
                [0.0474, 0.9526]])
    """
    if takes(q, k, v, a, b):
        return balanced(q, k, v, a, b, n_half)[0]
    return balanced_apply_reference(q, k, v, a, b, n_half)

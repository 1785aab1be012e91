"""Streaming product of a kernel exp(row + col - C / epsilon) with values, and its row-normalised form."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable
from monge.errors import DeviceError, ShapeError

from ._native_call import Cost, native_dtype
from .native import apply_native, attend_native
from .pairs import Pairs
from .reference import apply_reference
from .scores import check_columns, check_rows, epsilon_of

__all__ = ["apply"]


@transformable
def apply(
    pairs: Pairs,
    row: Float[Tensor, "*#b n"] | None,
    col: Float[Tensor, "*#b m"],
    v: Float[Tensor, "*#b m k"],
    epsilon: float | Tensor,
) -> Float[Tensor, "*b n k"]:
    """The product P v, streamed: sum_j exp(row_i + col_j - C_ij / eps) v_jk.

    With row = f / eps + log a and col = g / eps + log b it applies an entropic plan. Without ``row`` every
    row is normalised to sum to one, so that the result is a barycentre, or attention.

    Args:
        pairs: The costs, `Points` or `Matrix`; +inf in a matrix forbids a pair.
        row: One number for each row, -inf if absent; None normalises the rows.
        col: One number for each column, -inf if absent.
        v: The values, one row for each column of the costs.
        epsilon: The temperature, positive: a float, or a tensor that broadcasts to the batch.

    Returns:
        The products, in the common dtype of costs and values. A row with nothing left gives zero. Gradients
        flow to the points or the cost, to ``row``, ``col``, ``v`` and ``epsilon``.

    Raises:
        ShapeError, DtypeError, DeviceError: If row, col or v do not fit the costs.
        InputError: If epsilon is a float and not positive.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(1, 1), torch.tensor([[-1.0], [1.0]])
        >>> apply(Points(x, y), None, torch.zeros(2), torch.tensor([[2.0], [4.0]]), epsilon=1.0)
        tensor([[3.]])
    """
    check_columns("col", col, pairs)
    if row is not None:
        check_rows("row", row, pairs)
    if v.ndim < 2 or v.shape[-2] != pairs.shape[1]:
        raise ShapeError(
            f"v must have shape (*batch, m, k) with one row for each of the {pairs.shape[1]} columns, but "
            f"has {tuple(v.shape)}; for a vector use v[:, None]."
        )
    if v.device != pairs.device:
        raise DeviceError(f"v must live where the costs live, but is on {v.device} and they are on {pairs.device}.")
    dtype = native_dtype(pairs, row, col, v)
    if dtype is None:
        return apply_reference(pairs, row, col, v, epsilon)
    rule, eps = Cost.of(pairs, dtype), epsilon_of(epsilon, col, dtype)
    if row is None:
        out = attend_native(*rule, col.to(dtype), v.to(dtype), eps)[0]
    else:
        out = apply_native(*rule, row.to(dtype), col.to(dtype), v.to(dtype), eps)
    return out.to(torch.promote_types(pairs.dtype, v.dtype))

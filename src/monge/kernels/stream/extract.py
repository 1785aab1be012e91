"""The entries of a plan above a threshold."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import working_dtype
from monge._transforms import transformable
from monge.errors import ShapeError

from ._native_call import native_dtype
from .native import extract_native
from .pairs import Pairs
from .reference import extract_reference
from .scores import check_columns, check_rows, epsilon_of

__all__ = ["extract"]


@transformable
def extract(
    pairs: Pairs,
    row: Float[Tensor, " n"],
    col: Float[Tensor, " m"],
    epsilon: float | Tensor,
    threshold: float | Tensor,
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The entries P_ij = exp(row_i + col_j - C_ij / eps) > threshold of one problem, in row-major order.

    Args:
        pairs: The costs, without batch dimensions.
        row: f / eps + log a, -inf if absent.
        col: g / eps + log b, -inf if absent.
        epsilon: The temperature, positive.
        threshold: What an entry must exceed: one number, or one for each row.

    Returns:
        Rows, columns and weights. Gradients of the weights flow to the points or the cost, to ``row``,
        ``col`` and ``epsilon``; which entries are chosen is not differentiated.

    Raises:
        ShapeError, DtypeError, DeviceError: If row, col or threshold do not fit, or there are batch
        dimensions.
        InputError: If epsilon is a float and not positive.

    Example:
        >>> import torch
        >>> cost = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
        >>> extract(Matrix(cost), torch.zeros(2), torch.zeros(2), 1.0, threshold=0.5)
        (tensor([0, 1]), tensor([0, 1]), tensor([1., 1.]))
    """
    check_rows("row", row, pairs)
    check_columns("col", col, pairs)
    if len(pairs.batch_shape) or row.ndim > 1 or col.ndim > 1:
        raise ShapeError(
            f"extract takes one problem, but the costs have batch dimensions {tuple(pairs.batch_shape)}; the "
            "lists of a batch have different lengths, so call it once for each problem."
        )
    dtype = working_dtype(pairs, row, col)
    limit = torch.as_tensor(threshold, dtype=dtype, device=pairs.device).detach()
    if limit.ndim > 1 or (limit.ndim == 1 and limit.shape[0] != pairs.shape[0]):
        raise ShapeError(
            f"threshold must be one number or one for each of the {pairs.shape[0]} rows, but has shape "
            f"{tuple(limit.shape)}."
        )
    with torch.no_grad():
        if native_dtype(pairs, row, col) is None:
            i, j, w = extract_reference(pairs, row, col, epsilon, limit)
        else:
            eps = epsilon_of(epsilon, row, dtype)
            i, j, w = extract_native(pairs, row.to(dtype), col.to(dtype), eps, limit)
    graded = (*pairs.tensors(), row, col, *([epsilon] if isinstance(epsilon, Tensor) else []))
    if torch.is_grad_enabled() and any(t.requires_grad for t in graded):
        eps = epsilon_of(epsilon, row, dtype)
        w = torch.exp(row.to(dtype)[i] + col.to(dtype)[j] - pairs.at(i, j).to(dtype) / eps)
    return i, j, w

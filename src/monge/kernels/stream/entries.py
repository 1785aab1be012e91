"""Single entries of many: the smallest reduced costs of every row, and what a plan holds above a threshold."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import working_dtype
from monge._transforms import transformable
from monge.errors import InputError, ShapeError

from ._native_call import Cost, native_dtype
from .native import LARGEST_K, extract_native, top_k_native
from .pairs import Pairs
from .reference import extract_reference, top_k_reference
from .scores import check_side, epsilon_of

__all__ = ["ctransform", "extract", "top_k"]


@transformable
def top_k(pairs: Pairs, g: Float[Tensor, "*#b m"], k: int) -> tuple[Float[Tensor, "*b n k"], Int[Tensor, "*b n k"]]:
    """The k smallest of C_ij - g_j in every row, ascending, streamed.

    Args:
        pairs: The costs, `Points` or `Matrix`; +inf in a matrix forbids a pair.
        g: The potential of the columns; -inf marks an absent column.
        k: How many, at most the number of columns.

    Returns:
        The reduced costs, ascending, and their columns, in order where costs are equal; which of several
        equal ones is the last to be taken is not specified. Where fewer than k are left the rest is +inf and
        -1. Gradients of the values flow through the entries chosen.

    Raises:
        ShapeError, DtypeError, DeviceError: If g does not fit the costs.
        InputError: If k is not between 1 and the number of columns.

    Example:
        >>> import torch
        >>> top_k(Matrix(torch.tensor([[3.0, 1.0, 2.0]])), torch.zeros(3), 2)
        (tensor([[1., 2.]]), tensor([[1, 2]]))
    """
    check_side("g", g, pairs, "column")
    if not 1 <= k <= pairs.shape[1]:
        raise InputError(
            f"k must lie between 1 and the number of columns, {pairs.shape[1]}, but is {k}: take one of them."
        )
    with torch.no_grad():
        dtype = native_dtype(pairs, g)
        if dtype is None or k > LARGEST_K:
            values, index = top_k_reference(pairs, g, k)
        else:
            values, index = top_k_native(*Cost.of(pairs, dtype), g.to(dtype), epsilon_of(1.0, pairs, dtype), k)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*pairs.tensors(), g)):
        values = _chosen(pairs, g, index)
    return values, index


@transformable
def ctransform(pairs: Pairs, g: Float[Tensor, "*#b m"]) -> tuple[Float[Tensor, "*b n"], Int[Tensor, "*b n"]]:
    """The c-transform of a potential, streamed: f_i = min_j C_ij - g_j.

    It is the limit of `softmin` as epsilon goes to zero.

    Args:
        pairs: The costs, `Points` or `Matrix`; +inf in a matrix forbids a pair.
        g: The potential of the columns; -inf marks an absent column.

    Returns:
        The minima and the columns that reach them, the first where several do. A row with nothing left has
        +inf and -1. Gradients of the minima flow through the minimising entry, as the envelope theorem says.

    Raises:
        ShapeError, DtypeError, DeviceError: If g does not fit the costs.

    Example:
        >>> import torch
        >>> ctransform(Matrix(torch.tensor([[3.0, 1.0]])), torch.zeros(2))
        (tensor([1.]), tensor([1]))
    """
    values, index = top_k(pairs, g, 1)
    return values[..., 0], index[..., 0]


def _chosen(pairs: Pairs, g: Tensor, index: Tensor) -> Tensor:
    """The reduced costs of chosen entries, differentiable."""
    absent = index < 0
    columns = index.masked_fill(absent, 0)
    potential = g[..., None, :].expand(*columns.shape[:-1], g.shape[-1]).gather(-1, columns)
    return (pairs.gather(columns).to(working_dtype(pairs, g)) - potential).masked_fill(absent, math.inf)


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
    check_side("row", row, pairs, "row")
    check_side("col", col, pairs, "column")
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
    eps = epsilon_of(epsilon, pairs, dtype)
    with torch.no_grad():
        find = extract_reference if native_dtype(pairs, row, col) is None else extract_native
        i, j, w = find(pairs, row.to(dtype), col.to(dtype), eps, limit)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*pairs.tensors(), row, col, eps)):
        w = torch.exp(row.to(dtype)[i] + col.to(dtype)[j] - pairs.at(i, j).to(dtype) / eps)
    return i, j, w

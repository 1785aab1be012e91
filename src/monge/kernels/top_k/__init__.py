"""The k smallest reduced costs of every row."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._transforms import transformable
from monge.errors import InputError
from monge.kernels.bridge import encode, native_dtype
from monge.kernels.pairs import Pairs
from monge.kernels.scores import check_columns

from .native import LARGEST_K, top_k_native
from .reference import top_k_reference

__all__ = ["top_k", "top_k_reference"]


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
    check_columns("g", g, pairs)
    if not 1 <= k <= pairs.shape[1]:
        raise InputError(f"k must lie between 1 and the number of columns, {pairs.shape[1]}, but is {k}.")
    with torch.no_grad():
        dtype = native_dtype(pairs, g)
        if dtype is None or k > LARGEST_K:
            values, index = top_k_reference(pairs, g, k)
        else:
            values, index = top_k_native(*encode(pairs, dtype), g.to(dtype), k)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*pairs.tensors(), g)):
        values = _chosen(pairs, g, index)
    return values, index


def _chosen(pairs: Pairs, g: Tensor, index: Tensor) -> Tensor:
    """The reduced costs of chosen entries, differentiable."""
    absent = index < 0
    columns = index.masked_fill(absent, 0)
    potential = g[..., None, :].expand(*columns.shape[:-1], g.shape[-1]).gather(-1, columns)
    return (pairs.gather(columns).to(values_dtype(pairs, g)) - potential).masked_fill(absent, math.inf)


def values_dtype(pairs: Pairs, g: Tensor) -> torch.dtype:
    """The dtype of reduced costs."""
    return torch.promote_types(torch.promote_types(pairs.dtype, g.dtype), torch.float32)

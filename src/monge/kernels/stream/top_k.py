"""The smallest reduced costs of every row: the k smallest, or one, which is the hard c-transform."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import working_dtype
from monge._transforms import transformable
from monge.errors import InputError

from ._native_call import Cost, native_dtype
from .native import LARGEST_K, top_k_native
from .pairs import Pairs
from .reference import top_k_reference
from .scores import check_columns, epsilon_of

__all__ = ["ctransform", "top_k"]


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
            values, index = top_k_native(*Cost.of(pairs, dtype), g.to(dtype), epsilon_of(1.0, g, dtype), k)
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

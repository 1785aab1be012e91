"""The hard c-transform: the smallest reduced cost of every row, and where it is."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from monge._transforms import transformable
from monge.kernels.pairs import Pairs
from monge.kernels.top_k import top_k

__all__ = ["ctransform"]


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

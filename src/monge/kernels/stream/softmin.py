"""Streaming soft minimum of costs: a row log-sum-exp without a matrix."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable

from ._native_call import Cost, native_dtype
from .native import softmin_native
from .pairs import Pairs
from .reference import softmin_reference
from .scores import check_columns, epsilon_of

__all__ = ["softmin"]


@transformable
def softmin(pairs: Pairs, bias: Float[Tensor, "*#b m"], epsilon: float | Tensor) -> Float[Tensor, "*b n"]:
    """The soft minimum of every row of a cost, streamed: f_i = -eps log sum_j exp(bias_j - C_ij / eps).

    With bias = g / eps + log b it is the entropic c-transform of the potential g. The memory is that of a
    block of rows, in every derivative.

    Args:
        pairs: The costs, `Points` or `Matrix`; +inf in a matrix forbids a pair.
        bias: One number for each column; -inf marks an absent column.
        epsilon: The temperature, positive: a float, or a tensor that broadcasts to the batch.

    Returns:
        The soft minima, in the dtype of the inputs and at least in float32. A row with nothing left gives
        +inf. Gradients flow to the points or the cost, to ``bias`` and to ``epsilon``.

    Raises:
        ShapeError, DtypeError, DeviceError: If bias does not fit the costs.
        InputError: If epsilon is a float and not positive.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
        >>> softmin(Points(x, y), torch.zeros(1), epsilon=0.1)
        tensor([25.])
    """
    check_columns("bias", bias, pairs)
    dtype = native_dtype(pairs, bias)
    if dtype is None:
        return softmin_reference(pairs, bias, epsilon)
    return softmin_native(*Cost.of(pairs, dtype), bias.to(dtype), epsilon_of(epsilon, bias, dtype))

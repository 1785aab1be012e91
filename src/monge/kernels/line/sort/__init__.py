"""Sorting along the last axis: what every transport problem on a line begins with."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._transforms import transformable

from ..._extension import reads
from . import native, reference

__all__ = ["argsort", "sort"]


@transformable
def sort(x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """Values in increasing order along the last axis.

    NaN goes last. On the CPU, float32 and float64 rows are sorted by NumPy's vectorised loops, on every thread, some
    twenty times faster than by ``torch.sort``. Where a gradient is wanted this is `argsort`, whose derivative follows
    the values to where they came from; without one there is no need to know.

    Args:
        x: Numbers.

    Returns:
        The same numbers, row by row in order.

    Example:
        >>> import torch
        >>> sort(torch.tensor([3.0, 1.0, 2.0]))
        tensor([1., 2., 3.])
    """
    if x.requires_grad and torch.is_grad_enabled():
        return argsort(x)[0]
    if not _plain(x):
        return reference.argsort(x)[0]
    return native.sort(x.reshape(-1, x.shape[-1])).reshape(x.shape)


@transformable
def argsort(x: Float[Tensor, "*b n"]) -> tuple[Float[Tensor, "*b n"], Int[Tensor, "*b n"]]:
    """Values in increasing order along the last axis, and the place each came from.

    Equal values keep their order (a stable sort); NaN goes last. The values are differentiable: the derivative by a
    sorted value belongs to the place it came from.

    Args:
        x: Numbers.

    Returns:
        Sorted values, and indices such that ``values = x.gather(-1, indices)``.

    Example:
        >>> import torch
        >>> argsort(torch.tensor([3.0, 1.0, 1.0]))
        (tensor([1., 1., 3.]), tensor([1, 2, 0]))
    """
    if not _plain(x):
        return reference.argsort(x)
    values, indices = native.argsort(x.reshape(-1, x.shape[-1]))
    return values.reshape(x.shape), indices.reshape(x.shape)


def _plain(x: Tensor) -> bool:
    """Whether the fast loops apply; a place must fit into 32 bits."""
    return reads(x) and x.numel() > 0 and x.shape[-1] < 2**32

"""What the kernels share: checked arguments, and blocks of scores s_ij = col_j - C_ij / epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, rows_per_block
from monge.errors import DeviceError, DtypeError, InputError, ShapeError

from .pairs import Pairs

__all__ = ["Scores", "check_columns", "check_rows", "epsilon_of", "epsilon_tensor"]


def epsilon_of(epsilon: float | Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Epsilon as a tensor with the dimensions of the batch.

    A number must be positive and finite; a tensor is believed, for looking at it would stall a device.
    """
    if isinstance(epsilon, Tensor):
        return epsilon.to(dtype=dtype, device=like.device)
    if not 0 < epsilon < math.inf:
        raise InputError(f"epsilon must be positive and finite, but is {epsilon!r}; epsilon = 0 is `ctransform`.")
    return torch.scalar_tensor(epsilon, dtype=dtype, device=like.device)


def epsilon_tensor(epsilon: float | Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """The same as a tensor (..., 1, 1) that meets blocks."""
    return epsilon_of(epsilon, like, dtype)[..., None, None]


def check_columns(name: str, vector: Tensor, pairs: Pairs) -> None:
    """``vector`` must hold one number for each column of ``pairs``."""
    _check_vector(name, vector, pairs, pairs.shape[1], "column", "m")


def check_rows(name: str, vector: Tensor, pairs: Pairs) -> None:
    """``vector`` must hold one number for each row of ``pairs``."""
    _check_vector(name, vector, pairs, pairs.shape[0], "row", "n")


def _check_vector(name: str, vector: Tensor, pairs: Pairs, count: int, side: str, letter: str) -> None:
    if not vector.is_floating_point():
        raise DtypeError(f"{name} must be floating-point, but is {vector.dtype}: use {name}.float() or .double().")
    if vector.device != pairs.device:
        raise DeviceError(
            f"{name} must live where the costs live, but is on {vector.device} and they are on "
            f"{pairs.device}: use {name}.to({str(pairs.device)!r})."
        )
    if vector.ndim < 1 or vector.shape[-1] != count:
        raise ShapeError(
            f"{name} must have shape (*batch, {letter}) with one number for each of the {count} {side}s, but "
            f"has {tuple(vector.shape)}."
        )
    try:
        broadcast_shapes(vector.shape[:-1], pairs.batch_shape)
    except RuntimeError as error:
        raise ShapeError(
            f"the leading dimensions of {name}, {tuple(vector.shape[:-1])}, must broadcast with those of the "
            f"costs, {tuple(pairs.batch_shape)}."
        ) from error


@dataclass(frozen=True)
class Scores:
    """Streamed scores s_ij = col_j - C_ij / epsilon, -inf where the column is absent or the pair forbidden.

    ``rows`` and ``shared`` are the tensors that `stream` cuts and keeps; ``block`` gives the scores of a cut.
    A kernel appends tensors of its own behind them. ``step`` rows make one block.
    """

    rows: list[Tensor]
    shared: list[Tensor]
    block: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
    step: int

    @classmethod
    def of(cls, pairs: Pairs, col: Tensor, epsilon: Tensor, dtype: torch.dtype) -> Scores:
        """The scores of ``pairs`` for a bias ``col`` (*b, m) and ``epsilon`` (..., 1, 1), in ``dtype``."""
        rows, shared, evaluate, width = pairs.parts(dtype, epsilon)
        count = len(shared)

        def block(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
            cost = evaluate(rows, shared[:count])
            bias, epsilon = shared[count : count + 2]
            # An infinite cost must not meet its own derivative: inf / epsilon^2 * 0 is NaN.
            forbidden = cost == math.inf
            score = bias - cost.masked_fill(forbidden, 0) / epsilon
            return score.masked_fill(forbidden, -math.inf)

        batch = broadcast_shapes(pairs.batch_shape, col.shape[:-1], epsilon.shape[:-2])
        bytes_per_row = math.prod(batch) * pairs.shape[1] * width * dtype.itemsize
        return cls(rows, [*shared, col.to(dtype)[..., None, :], epsilon], block, rows_per_block(bytes_per_row))

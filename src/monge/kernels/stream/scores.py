"""What the kernels share: checked arguments, and blocks of scores s_ij = col_j - C_ij / epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, rows_per_block, working_dtype
from monge.errors import DeviceError, DtypeError, InputError, ShapeError

from .blocks import stream
from .pairs import Pairs

__all__ = ["Scores", "check_vector", "epsilon_of"]

# What a number of a vector belongs to: the dimension of the costs that counts it, and its letter.
_SIDES = {"row": (0, "n"), "column": (1, "m")}


def epsilon_of(epsilon: float | Tensor, like: Pairs, dtype: torch.dtype) -> Tensor:
    """Epsilon as a tensor with the dimensions of the batch.

    A number must be positive and finite; a tensor is believed, for looking at it would stall a device.
    """
    if isinstance(epsilon, Tensor):
        return epsilon.to(dtype=dtype, device=like.device)
    if not 0 < epsilon < math.inf:
        raise InputError(f"epsilon must be positive and finite, but is {epsilon!r}; epsilon = 0 is `ctransform`.")
    return torch.scalar_tensor(epsilon, dtype=dtype, device=like.device)


def check_vector(name: str, vector: Tensor, pairs: Pairs, side: str) -> None:
    """``vector`` must hold one number for each row of ``pairs``, or for each column."""
    dimension, letter = _SIDES[side]
    count = pairs.shape[dimension]
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
        if vector.ndim > 1:
            broadcast_shapes(vector.shape[:-1], pairs.batch_shape)
    except RuntimeError as error:
        raise ShapeError(
            f"the leading dimensions of {name}, {tuple(vector.shape[:-1])}, must broadcast with those of the "
            f"costs, {tuple(pairs.batch_shape)}."
        ) from error


@dataclass(frozen=True)
class Scores:
    """Streamed scores s_ij = col_j - C_ij / epsilon, -inf where the column is absent or the pair forbidden.

    ``rows`` and ``shared`` are the tensors that are cut and kept, the bias and epsilon (..., 1, 1) the last of them;
    ``block`` gives the scores of a cut. ``step`` rows make one block.
    """

    rows: list[Tensor]
    shared: list[Tensor]
    block: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
    step: int
    dtype: torch.dtype

    @classmethod
    def of(cls, pairs: Pairs, col: Tensor, epsilon: float | Tensor, *others: Tensor | None) -> Scores:
        """The scores of ``pairs`` for a bias ``col`` (*b, m), in the widest dtype among them and ``others``."""
        dtype = working_dtype(pairs, col, *others)
        epsilon = epsilon_of(epsilon, pairs, dtype)[..., None, None]
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
        step = rows_per_block(math.prod(batch) * pairs.shape[1] * width * dtype.itemsize)
        return cls(rows, [*shared, col.to(dtype)[..., None, :], epsilon], block, step, dtype)

    @property
    def epsilon(self) -> Tensor:
        """The temperature, as it meets blocks."""
        return self.shared[-1]

    def stream(
        self,
        body: Callable[[Tensor, Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]],
        rows: Sequence[Tensor] = (),
        shared: Sequence[Tensor] = (),
        sums: int = 0,
    ) -> tuple[Tensor, ...]:
        """As `stream`, of ``body(score, rows, shared)``, which sees the scores of a block and tensors of its own."""
        cut, kept = len(self.rows), len(self.shared)

        def scored(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
            return body(self.block(rows[:cut], shared[:kept]), rows[cut:], shared[kept:])

        sides = (self.rows, rows), (self.shared, shared)
        tensors = ([*own, *(t.to(self.dtype) for t in given)] for own, given in sides)
        return stream(scored, *tensors, step=self.step, sums=sums)

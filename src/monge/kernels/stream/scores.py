"""What the kernels share: checked arguments, and blocks of scores s_ij = col_j - C_ij / epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, rows_per_block, working_dtype
from monge._checks import check_batches, check_device, check_vector
from monge.errors import InputError

from .blocks import stream
from .pairs import Pairs

__all__ = ["Scores", "check_side", "epsilon_of"]


def epsilon_of(epsilon: float | Tensor, like: Pairs, dtype: torch.dtype) -> Tensor:
    """Epsilon as a tensor with the dimensions of the batch.

    A number must be positive and finite; a tensor is believed, for looking at it would stall a device.
    """
    if isinstance(epsilon, Tensor):
        return epsilon.to(dtype=dtype, device=like.device)
    if not 0 < epsilon < math.inf:
        raise InputError(f"epsilon must be positive and finite, but is {epsilon!r}; epsilon = 0 is `ctransform`.")
    return torch.scalar_tensor(epsilon, dtype=dtype, device=like.device)


def check_side(name: str, vector: Tensor, pairs: Pairs, side: str) -> None:
    """``vector`` must hold one number for each row of ``pairs``, or for each column."""
    count = pairs.shape[0 if side == "row" else 1]
    check_vector(name, vector, count, f"number for each of the {count} {side}s")
    if vector.device != pairs.device:  # asked in every iteration
        check_device(**{name: vector, "costs": pairs})
    if vector.ndim > 1:
        check_batches(**{name: vector.shape[:-1], "costs": pairs.batch_shape})


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

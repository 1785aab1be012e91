"""Row-block streaming: a map over blocks of rows whose backward recomputes each block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from monge._arrays import pieces
from monge._transforms import gradient_of, leaves_of, placed

__all__ = ["stream"]

Body = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]


def stream(
    body: Body, rows: Sequence[Tensor], shared: Sequence[Tensor], *, step: int, sums: int = 0
) -> tuple[Tensor, ...]:
    """Apply ``body`` to blocks of rows and put the answers together.

    ``body(row_blocks, shared)`` sees ``step`` rows (dimension -2) of every tensor in ``rows`` and the whole
    of every tensor in ``shared``. Its first outputs hold the same rows in dimension -2 and are concatenated;
    its last ``sums`` outputs are added over blocks. Memory is that of one block, in the forward pass, in the
    backward pass, and in every further derivative: the adjoint of a streamed map is streamed too.

    Args:
        body: A differentiable function of its two lists of tensors, which keeps nothing of its own that needs
            a gradient.
        rows: Tensors with the same number of rows in dimension -2; leading dimensions broadcast.
        shared: Tensors that every block sees.
        step: Rows in a block.
        sums: How many of the outputs, at the end, are summed over blocks.

    Returns:
        The outputs of ``body``, for all rows.
    """
    return _Stream.apply(body, step, sums, len(rows), *rows, *shared)  # type: ignore[no-any-return]


class _Stream(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, body: Body, step: int, sums: int, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        rows, shared = tensors[:count], tensors[count:]
        total = rows[0].shape[-2]
        kept: list[list[Tensor]] = []
        summed: list[Tensor] = []
        # At least one block, so that an empty set of rows still has outputs of the right shape.
        for part in pieces(max(total, 1), step):
            out = list(body([t[..., part, :] for t in rows], shared))
            cut = len(out) - sums
            kept.append(out[:cut])
            # New tensors: an output may share memory with what came in.
            summed = [one + other for one, other in zip(summed or [0] * sums, out[cut:], strict=True)]
        joined = [torch.cat(parts, dim=-2) for parts in zip(*kept, strict=True)]
        ctx.body, ctx.step, ctx.sums, ctx.count = body, step, sums, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*(t for t in joined if not t.is_floating_point()))
        return (*joined, *summed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple:  # type: ignore[override]
        """The adjoint, a block-wise vector-Jacobian product: again a body, to be streamed and derived."""
        tensors, count, body = ctx.saved_tensors, ctx.count, ctx.body
        wanted = [k for k, need in enumerate(ctx.needs_input_grad[4:]) if need]
        live = [k for k, grad in enumerate(grads) if grad is not None]
        if not wanted or not live:
            return (None,) * (4 + len(tensors))
        cut = len(grads) - ctx.sums
        row_grads, sum_grads = ([g for g in some if g is not None] for some in (grads[:cut], grads[cut:]))
        rows, shared = tensors[:count], tensors[count:]
        whole = len(shared)

        def adjoint(row_blocks: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
            # Under grad mode someone wants a further derivative through this product; otherwise nothing is kept.
            further = torch.is_grad_enabled()
            cotangents = [*row_blocks[count:], *shared[whole:]]
            with torch.enable_grad():
                leaves = leaves_of([*row_blocks[:count], *shared[:whole]], wanted, further)
                outputs = body(leaves[:count], leaves[count:])
                return gradient_of([outputs[k] for k in live], [leaves[k] for k in wanted], cotangents, further)

        added = sum(k >= count for k in wanted)
        found = stream(adjoint, [*rows, *row_grads], [*shared, *sum_grads], step=ctx.step, sums=added)
        return None, None, None, None, *placed(found, wanted, len(tensors))

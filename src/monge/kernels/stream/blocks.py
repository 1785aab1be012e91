"""Row-block streaming: a map over blocks of rows whose backward recomputes each block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

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
    def forward(body: Body, step: int, sums: int, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        rows, shared = tensors[:count], tensors[count:]
        total = rows[0].shape[-2]
        pieces: list[list[Tensor]] = []
        summed: list[Tensor] = []
        # At least one block, so that an empty set of rows still has outputs of the right shape.
        for start in range(0, max(total, 1), step):
            size = min(step, total - start)
            out = list(body([t.narrow(-2, start, size) for t in rows], shared))
            cut = len(out) - sums
            pieces.append(out[:cut])
            if not summed:
                summed = [t.clone() for t in out[cut:]]
            else:
                for total_so_far, t in zip(summed, out[cut:], strict=True):
                    total_so_far.add_(t)
        joined = [torch.cat(parts, dim=-2) for parts in zip(*pieces, strict=True)]
        return (*joined, *summed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        ctx.body, ctx.step, ctx.sums, ctx.count, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*(t for t in output if not t.is_floating_point()))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple:  # type: ignore[override]
        tensors, count, sums = ctx.saved_tensors, ctx.count, ctx.sums
        needed = ctx.needs_input_grad[4:]
        wanted = [k for k, need in enumerate(needed) if need]
        live = [k for k, grad in enumerate(grads) if grad is not None]
        if not wanted or not live:
            return (None,) * (4 + len(tensors))
        cut = len(grads) - sums
        row_grads = [g for g in grads[:cut] if g is not None]
        sum_grads = [g for g in grads[cut:] if g is not None]
        rows, shared = tensors[:count], tensors[count:]
        adjoint = _adjoint(ctx.body, live, wanted, count, len(shared))
        found = stream(
            adjoint,
            [*rows, *row_grads],
            [*shared, *sum_grads],
            step=ctx.step,
            sums=sum(k >= count for k in wanted),
        )
        answer: list[Tensor | None] = [None] * len(tensors)
        for k, grad in zip(wanted, found, strict=True):
            answer[k] = grad
        return (None, None, None, None, *answer)


def _adjoint(body: Body, live: list[int], wanted: list[int], count: int, shared_count: int) -> Body:
    """The block-wise vector-Jacobian product of ``body``: again a body, to be streamed and derived."""

    def adjoint(row_blocks: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
        # Under grad mode someone wants a further derivative through this product; otherwise nothing is kept.
        further = torch.is_grad_enabled()
        inputs = [*row_blocks[:count], *shared[:shared_count]]
        cotangents = [*row_blocks[count:], *shared[shared_count:]]
        with torch.enable_grad():
            for k in wanted:
                if not (further and inputs[k].requires_grad):
                    inputs[k] = inputs[k].detach().requires_grad_()
            outputs = body(inputs[:count], inputs[count:])
            pairs = [(outputs[k], c) for k, c in zip(live, cotangents, strict=True) if outputs[k].requires_grad]
            found: Sequence[Tensor | None] = [None] * len(wanted)
            if pairs:
                found = torch.autograd.grad(
                    [o for o, _ in pairs],
                    [inputs[k] for k in wanted],
                    [c for _, c in pairs],
                    create_graph=further,
                    allow_unused=True,
                )
        return [torch.zeros_like(inputs[k]) if g is None else g for k, g in zip(wanted, found, strict=True)]

    return adjoint

"""Products with a list of entries, and their adjoint: the one the derivative of the other, to any order.

Both go through the list in pieces, so that memory is that of their input and output.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import row_blocks


def scatter_matmul(
    i: Int[Tensor, " e"], j: Int[Tensor, " e"], w: Float[Tensor, " e"], v: Float[Tensor, "m k"], n: int
) -> Float[Tensor, "n k"]:
    """out_i = sum over entries (i, j, w) of w v_j."""
    return _ScatterMatmul.apply(i, j, w, v, n)  # type: ignore[no-any-return]


def gather_dot(
    i: Int[Tensor, " e"], j: Int[Tensor, " e"], u: Float[Tensor, "n k"], v: Float[Tensor, "m k"]
) -> Float[Tensor, " e"]:
    """out_e = <u_i, v_j>."""
    return _GatherDot.apply(i, j, u, v)  # type: ignore[no-any-return]


class _ScatterMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, i: Tensor, j: Tensor, w: Tensor, v: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(i, j, w, v)
        ctx.n = n
        out = v.new_zeros(n, v.shape[-1])
        for part in row_blocks(len(w), v.shape[-1] * v.dtype.itemsize):
            out.index_add_(0, i[part], w[part, None] * v[j[part]])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (i, j, w, v) = grads, ctx.saved_tensors
        for_w = gather_dot(i, j, grad, v) if ctx.needs_input_grad[2] else None
        for_v = scatter_matmul(j, i, w, grad, len(v)) if ctx.needs_input_grad[3] else None
        return None, None, for_w, for_v, None


class _GatherDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, i: Tensor, j: Tensor, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(i, j, u, v)
        pieces = row_blocks(len(i), v.shape[-1] * v.dtype.itemsize)
        parts = [(u[i[part]] * v[j[part]]).sum(-1) for part in pieces]
        return torch.cat(parts) if parts else v.new_zeros(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (i, j, u, v) = grads, ctx.saved_tensors
        for_u = scatter_matmul(i, j, grad, v, len(u)) if ctx.needs_input_grad[2] else None
        for_v = scatter_matmul(j, i, grad, u, len(v)) if ctx.needs_input_grad[3] else None
        return None, None, for_u, for_v

"""The C++ twins of `apply`, as operators that autograd, vmap and torch.compile know."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._load import module
from .._operator import custom_op
from ..bridge import Call, Rule, decode, register_vmap
from ..pairs import broadcast

__all__ = ["apply_native", "attend_native"]


@custom_op("apply")
def apply_native(
    first: Tensor,
    second: Tensor | None,
    kind: str,
    p: float,
    power: float,
    row: Tensor,
    col: Tensor,
    v: Tensor,
    epsilon: Tensor,
) -> Tensor:
    """sum_j exp(row_i + col_j - C_ij / eps) v_j."""
    call = Call(Rule(first, second, kind, p, power), epsilon, [row, col], [v])
    out, array = call.output(first.shape[-2], v.shape[-1], dtype=first.dtype)
    module().apply(*call.costs, *call.vectors, *call.values, array, torch.get_num_threads())
    return out


@apply_native.register_fake
def _(
    first: Tensor,
    second: Tensor | None,
    kind: str,
    p: float,
    power: float,
    row: Tensor,
    col: Tensor,
    v: Tensor,
    epsilon: Tensor,
) -> Tensor:
    costs = decode(first, second, kind, p, power).batch_shape
    batch = broadcast(costs, row.shape[:-1], col.shape[:-1], v.shape[:-2], epsilon.shape)
    return first.new_empty(*batch, first.shape[-2], v.shape[-1])


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    first, second, *ctx.rule, row, col, v, epsilon = inputs
    ctx.save_for_backward(first, second, row, col, v, epsilon, output)


def _backward(ctx: Any, grad: Tensor) -> tuple:
    from .derivative import applied

    first, second, row, col, v, epsilon, out = ctx.saved_tensors
    needs = ctx.needs_input_grad
    pairs = decode(first, second, *ctx.rule)
    found = applied(pairs, row, col, v, epsilon, out, grad, needs=(*needs[:2], *needs[5:]))
    return found.first, found.second, None, None, None, found.row, found.col, found.v, found.epsilon


apply_native.register_autograd(_backward, setup_context=_save)
register_vmap(apply_native, (2, 2, None, None, None, 1, 1, 2, 0))


@custom_op("attend")
def attend_native(
    first: Tensor, second: Tensor | None, kind: str, p: float, power: float, col: Tensor, v: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    """The row-normalised product, and the soft minimum of the rows, which the derivative needs."""
    call = Call(Rule(first, second, kind, p, power), epsilon, [col], [v])
    out, array = call.output(first.shape[-2], v.shape[-1], dtype=first.dtype)
    f, f_array = call.output(first.shape[-2], dtype=first.dtype)
    module().attend(*call.costs, *call.vectors, *call.values, array, f_array, torch.get_num_threads())
    return out, f


@attend_native.register_fake
def _(
    first: Tensor, second: Tensor | None, kind: str, p: float, power: float, col: Tensor, v: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    costs = decode(first, second, kind, p, power).batch_shape
    batch = broadcast(costs, col.shape[:-1], v.shape[:-2], epsilon.shape)
    n = first.shape[-2]
    return first.new_empty(*batch, n, v.shape[-1]), first.new_empty(*batch, n)


def _save_attend(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    first, second, *ctx.rule, col, v, epsilon = inputs
    ctx.save_for_backward(first, second, col, v, epsilon, *output)


def _backward_attend(ctx: Any, grad: Tensor | None, grad_f: Tensor | None) -> tuple:
    from .derivative import attended

    first, second, col, v, epsilon, out, f = ctx.saved_tensors
    needs = ctx.needs_input_grad
    pairs = decode(first, second, *ctx.rule)
    found = attended(
        pairs, col, epsilon, f, grad_f, values=(v, out, grad), needs=(*needs[:2], needs[5], needs[7]), need_v=needs[6]
    )
    return found.first, found.second, None, None, None, found.col, found.v, found.epsilon


attend_native.register_autograd(_backward_attend, setup_context=_save_attend)
register_vmap(attend_native, (2, 2, None, None, None, 1, 2, 0))

"""The C++ twin of `softmin`, as an operator that autograd, vmap and torch.compile know."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._load import module
from .._operator import custom_op
from ..bridge import Call, Rule, decode, register_vmap
from ..pairs import broadcast

__all__ = ["softmin_native"]


@custom_op("softmin")
def softmin_native(
    first: Tensor, second: Tensor | None, kind: str, p: float, power: float, bias: Tensor, epsilon: Tensor
) -> Tensor:
    """-eps log sum_j exp(bias_j - C_ij / eps)."""
    call = Call(Rule(first, second, kind, p, power), epsilon, [bias])
    out, array = call.output(first.shape[-2], dtype=first.dtype)
    module().softmin(*call.costs, *call.vectors, array, torch.get_num_threads())
    return out


@softmin_native.register_fake
def _(first: Tensor, second: Tensor | None, kind: str, p: float, power: float, bias: Tensor, epsilon: Tensor) -> Tensor:
    batch = broadcast(decode(first, second, kind, p, power).batch_shape, bias.shape[:-1], epsilon.shape)
    return first.new_empty(*batch, first.shape[-2])


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    first, second, *ctx.rule, bias, epsilon = inputs
    ctx.save_for_backward(first, second, bias, epsilon, output)


def _backward(ctx: Any, grad: Tensor) -> tuple:
    # Imported late: the two kernels derive one another.
    from ..apply.derivative import attended

    first, second, bias, epsilon, f = ctx.saved_tensors
    needs = ctx.needs_input_grad
    pairs = decode(first, second, *ctx.rule)
    found = attended(pairs, bias, epsilon, f, grad, needs=(needs[0], needs[1], needs[5], needs[6]))
    return found.first, found.second, None, None, None, found.col, found.epsilon


softmin_native.register_autograd(_backward, setup_context=_save)
register_vmap(softmin_native, (2, 2, None, None, None, 1, 0))

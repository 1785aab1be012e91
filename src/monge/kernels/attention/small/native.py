"""The C++ twin, as an operator that torch knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..._extension import FULL_PRECISION, call
from ..._operator import operator
from ..._rules import Rules
from ...derivatives import again, derivatives
from .reference import small_plans_reference

__all__ = ["MOST_TOKENS", "loop"]

MOST_TOKENS = 32
# How far the scores of one problem may spread, so that scalings and their squares stay numbers of the dtype.
_SPREAD = {torch.float32: 30.0, torch.float64: 250.0}


def _run(scores: Tensor, upstream: Tensor | None, n_half: int, end_on: str) -> Tensor:
    """The plans, or the derivatives of ⟨plans, upstream⟩; the definition does what the loop leaves, in float64."""
    out = torch.empty_like(scores, memory_format=torch.contiguous_format)
    left = torch.empty(len(scores), dtype=torch.uint8)
    given = (None if held is None else held.detach().contiguous().numpy() for held in (scores, upstream))
    columns, spread = end_on == "columns", _SPREAD[scores.dtype]
    call("doubly_stochastic", *given, n_half, columns, spread, out.numpy(), left.numpy(), torch.get_num_threads())
    if left.any():
        which = left.bool()
        hard = scores.detach()[which].double().requires_grad_(upstream is not None)
        with torch.set_grad_enabled(upstream is not None):
            plans = small_plans_reference(hard, n_half, end_on)
        if upstream is not None:
            (plans,) = torch.autograd.grad(plans, hard, upstream.detach()[which].double())
        out[which] = plans.to(out.dtype)
    return out


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    scores, ctx.n_half, ctx.end_on = inputs
    ctx.save_for_backward(scores)


def _backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None]:
    (scores,) = ctx.saved_tensors
    if again():
        plans = small_plans_reference(scores, ctx.n_half, ctx.end_on)
        return derivatives(plans, [scores], upstream)[0], None, None
    return _gradient(scores, upstream, ctx.n_half, ctx.end_on), None, None


_TEXT = "Tensor[rows n n] scores, {}int[1 <= n_half] n_half, str[rows columns] end_on"
_gradient = operator(
    Rules(f"doubly_stochastic_gradient({_TEXT.format('Tensor[rows n n] upstream, ')}) -> Tensor", FULL_PRECISION),
    _run,
    lambda scores, upstream, n_half, end_on: torch.empty_like(scores),
)
loop = operator(
    Rules(f"doubly_stochastic({_TEXT.format('')}) -> Tensor", FULL_PRECISION),
    lambda scores, n_half, end_on: _run(scores, None, n_half, end_on),
    lambda scores, n_half, end_on: torch.empty_like(scores, memory_format=torch.contiguous_format),
    setup=_setup,
    backward=_backward,
)

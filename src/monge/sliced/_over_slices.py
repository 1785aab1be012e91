"""The mean over slices, chunk by chunk, with the gradient gathered in the same pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from monge._arrays import recompute, row_blocks
from monge.kernels.derivatives import again, derivatives

CHUNK_BYTES = 8 * 2**20


def chunks(count: int, scalars_per_slice: int, itemsize: int) -> list[slice]:
    """Ranges of slices whose projections fit into a fixed, small memory."""
    return row_blocks(count, scalars_per_slice * itemsize, CHUNK_BYTES)


def mean(slices: Tensor, weights: Tensor | None) -> Tensor:
    """Over the slices, the plain mean if there are no weights."""
    return slices.mean(-1) if weights is None else (slices * weights).sum(-1)


def mean_over_slices(
    costs: Callable[..., Tensor],
    parts: list[slice],
    tensors: Sequence[Tensor | None],
    weights: Tensor | None = None,
    parameters: Sequence[Tensor] = (),
) -> tuple[Tensor, Tensor]:
    """The weighted mean of ``costs(chunk, *tensors)`` (*b, chunk), and all the costs (*b, count), in constant memory.

    ``parts`` are the chunks; ``tensors`` have the batch dimensions ``*b`` in front. Their gradients are summed while
    the chunks go by, so neither the number of slices nor the backward pass asks for more memory than one chunk. The
    costs come without gradient. ``parameters`` are what ``costs`` depends on besides, shared by the batch: where they
    have gradients, chunks are made again in a backward pass.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in parameters):
        cost, slices = recorded(costs, parts, tensors, weights)
        return cost, slices.detach()
    return _OverSlices.apply(costs, parts, weights, *tensors)


class _OverSlices(torch.autograd.Function):
    @staticmethod
    def forward(ctx, costs, parts, weights, *tensors):
        wanted = ctx.needs_input_grad[3:]
        leaves = [t if t is None else t.detach().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
        inputs = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        grads = [torch.zeros_like(leaf) for leaf in inputs]
        costed = []
        for chunk in parts:
            share = 1.0 / parts[-1].stop if weights is None else weights[..., chunk]
            with torch.enable_grad():
                part = costs(chunk, *leaves)
                if inputs:
                    found = torch.autograd.grad((part * share).sum(), inputs, allow_unused=True)
                    for grad, new in zip(grads, found, strict=True):
                        if new is not None:
                            grad += new
            costed.append(part.detach())
        slices = torch.cat(costed, -1)
        ctx.save_for_backward(weights, *tensors, *grads)
        ctx.costs, ctx.parts, ctx.wanted = costs, parts, wanted
        ctx.mark_non_differentiable(slices)
        return mean(slices, weights), slices

    @staticmethod
    def backward(ctx, upstream, _):
        weights, *held = ctx.saved_tensors
        tensors, grads = held[: len(ctx.wanted)], held[len(ctx.wanted) :]
        if again():
            cost, _ = recorded(ctx.costs, ctx.parts, tensors, weights)
            return None, None, None, *derivatives(cost, tensors, upstream)
        scaled = (grad * upstream.reshape(upstream.shape + (1,) * (grad.ndim - upstream.ndim)) for grad in grads)
        return None, None, None, *(next(scaled) if w else None for w in ctx.wanted)


def recorded(
    costs: Callable[..., Tensor], parts: list[slice], tensors: Sequence[Tensor | None], weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The mean in the graph of autograd, whose chunks are made again where they are needed, and the costs."""
    found = [recompute(costs, part, *tensors) for part in parts]
    slices = torch.cat(found, -1)
    return mean(slices, weights), slices

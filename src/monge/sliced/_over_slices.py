"""The mean over slices, chunk by chunk, with the gradient gathered in the same pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from monge._arrays import recompute, rows_per_block
from monge.kernels.derivatives import again, derivatives

__all__ = ["chunks", "mean", "mean_over_slices", "recorded"]

CHUNK_BYTES = 8 * 2**20


def chunks(count: int, scalars_per_slice: int, itemsize: int) -> Iterator[slice]:
    """Ranges of slices whose projections fit into a fixed, small memory."""
    size = max(1, min(count, rows_per_block(scalars_per_slice * itemsize, CHUNK_BYTES)))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def mean(slices: Tensor, weights: Tensor | None) -> Tensor:
    """Over the slices, the plain mean if there are no weights."""
    return slices.mean(-1) if weights is None else (slices * weights).sum(-1)


def mean_over_slices(
    costs: Callable[..., Tensor],
    count: int,
    scalars_per_slice: int,
    tensors: tuple[Tensor | None, ...],
    weights: Tensor | None = None,
    parameters: Sequence[Tensor] = (),
) -> tuple[Tensor, Tensor]:
    """The weighted mean of ``costs(chunk, *tensors)`` (*b, chunk), and all the costs (*b, count), in constant memory.

    ``tensors`` have the batch dimensions ``*b`` in front. Their gradients are summed while the chunks go by, so neither
    the number of slices nor the backward pass asks for more memory than one chunk. The costs come without gradient.
    ``parameters`` are what ``costs`` depends on besides, shared by the batch: where they have gradients, chunks are
    made again in a backward pass.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in parameters):
        itemsize = next(t.element_size() for t in tensors if t is not None)
        cost, slices = recorded(costs, list(chunks(count, scalars_per_slice, itemsize)), tensors, weights)
        return cost, slices.detach()
    return _OverSlices.apply(costs, count, scalars_per_slice, weights, *tensors)


class _OverSlices(torch.autograd.Function):
    @staticmethod
    def forward(ctx, costs, count, scalars, weights, *tensors):
        wanted = [k for k, tensor in enumerate(tensors) if tensor is not None and ctx.needs_input_grad[k + 4]]
        leaves = [None if t is None else t.detach().requires_grad_(k in wanted) for k, t in enumerate(tensors)]
        inputs = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        grads = [torch.zeros_like(tensors[k]) for k in wanted]
        parts = []
        itemsize = next(t.element_size() for t in tensors if t is not None)
        ranges = list(chunks(count, scalars, itemsize))
        for chunk in ranges:
            share = 1.0 / count if weights is None else weights[..., chunk]
            with torch.enable_grad():
                part = costs(chunk, *leaves)
                if wanted:
                    found = torch.autograd.grad((part * share).sum(), inputs, allow_unused=True)
                    for grad, new in zip(grads, found, strict=True):
                        if new is not None:
                            grad += new
            parts.append(part.detach())
        slices = torch.cat(parts, -1)
        ctx.save_for_backward(*grads, weights, *tensors)
        ctx.costs, ctx.chunks = costs, ranges
        ctx.wanted, ctx.total = wanted, len(tensors)
        ctx.mark_non_differentiable(slices)
        return mean(slices, weights), slices

    @staticmethod
    def backward(ctx, upstream, _):
        grads, tensors = ctx.saved_tensors[: len(ctx.wanted)], ctx.saved_tensors[len(ctx.wanted) :]
        if again():
            weights, *inputs = tensors
            cost, _ = recorded(ctx.costs, ctx.chunks, inputs, weights)
            return None, None, None, None, *derivatives(cost, inputs, upstream)
        out: list[Tensor | None] = [None] * ctx.total
        for k, grad in zip(ctx.wanted, grads, strict=True):
            out[k] = grad * upstream.reshape(upstream.shape + (1,) * (grad.ndim - upstream.ndim))
        return None, None, None, None, *out


def recorded(
    costs: Callable[..., Tensor], parts: list[slice], tensors: Sequence[Tensor | None], weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The mean in the graph of autograd, whose chunks are made again where they are needed, and the costs."""
    found = [recompute(costs, part, *tensors) for part in parts]
    slices = torch.cat(found, -1)
    return mean(slices, weights), slices

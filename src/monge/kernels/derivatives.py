"""Derivatives that are differentiated again: those written by hand step aside for the definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from monge.errors import CapabilityError

__all__ = ["again", "defined", "derivatives", "distances", "envelope", "held", "once"]


def again() -> bool:
    """Whether a backward runs for those who asked for its graph."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def derivatives(out: Tensor, inputs: Sequence[Tensor | None], upstream: Tensor) -> list[Tensor | None]:
    """Derivatives of ⟨out, upstream⟩ along the inputs that have one, themselves differentiable."""
    sources = [t for t in inputs if t is not None and t.requires_grad]
    found = iter(torch.autograd.grad(out, sources, upstream, create_graph=True, allow_unused=True))
    return [next(found) if t is not None and t.requires_grad else None for t in inputs]


def defined(fast: Callable[..., Tensor], definition: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
    """``fast(*tensors)``, whose derivatives are differentiated again through the definition: torch has them once."""
    if torch.compiler.is_compiling() or not (
        torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    ):
        return fast(*tensors)
    return _Defined.apply(fast, definition, *tensors)  # type: ignore[no-any-return]


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances of all pairs, with derivative zero at distance zero."""

    def fast(x: Tensor, y: Tensor) -> Tensor:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")

    def definition(x: Tensor, y: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x[..., :, None, :] - y[..., None, :, :], dim=-1)

    return defined(fast, definition, x, y)


def held(number: Tensor, others: Sequence[Tensor | None], told: str) -> Tensor:
    """A number that depends on others in a way that nobody differentiates: who asks is refused, with a sentence."""
    found = [t for t in others if t is not None and t.requires_grad]
    if not (torch.is_grad_enabled() and found):
        return number
    return _Held.apply(told, number, *found)  # type: ignore[no-any-return]


def once(number: Tensor, others: Sequence[Tensor | None], told: str) -> Tensor:
    """A number whose first derivative by others is right, by the envelope theorem; a second one is refused."""
    found = [t for t in others if t is not None and t.requires_grad]
    if not (torch.is_grad_enabled() and number.requires_grad and found):
        return number
    return _Once.apply(told, number, *found)  # type: ignore[no-any-return]


def envelope(
    function: Callable[..., Tensor],
    constants: Sequence[Tensor],
    moving: Sequence[Tensor | None],
    others: Sequence[Tensor | None],
    told: str,
) -> Tensor:
    """``function(constants, moving)`` where a first derivative sees the constants as such, by the envelope theorem.

    Further derivatives would need how the constants move with ``others``. They do not move with ``moving``, almost
    everywhere, as an optimal vertex does not; whoever differentiates by the others as well is refused.
    """
    sizes = len(constants), len(moving)
    return _Envelope.apply(function, sizes, told, *constants, *moving, *others)  # type: ignore[no-any-return]


class _Defined(torch.autograd.Function):
    """A graph of its own inside, which the first derivative goes through."""

    @staticmethod
    def forward(ctx: Any, fast: Callable[..., Tensor], definition: Callable[..., Tensor], *tensors: Any) -> Tensor:
        needed = ctx.needs_input_grad[2:]
        leaves = [t if t is None else t.detach().requires_grad_(n) for t, n in zip(tensors, needed, strict=True)]
        with torch.enable_grad():
            out = fast(*leaves)
        ctx.definition, ctx.inner = definition, ([t for t, n in zip(leaves, needed, strict=True) if n], out)
        ctx.save_for_backward(*tensors)
        return out.detach()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple:
        needed = ctx.needs_input_grad[2:]
        if again():
            tensors = ctx.saved_tensors
            return None, None, *derivatives(ctx.definition(*tensors), tensors, upstream[0])
        leaves, out = ctx.inner
        found = iter(torch.autograd.grad(out, leaves, upstream[0], retain_graph=True))
        return None, None, *(next(found) if need else None for need in needed)


class _Held(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, told: str, number: Tensor, *others: Tensor) -> Tensor:
        ctx.told = told
        return number.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple:
        raise CapabilityError(ctx.told)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, told: str, number: Tensor, *others: Tensor) -> Tensor:
        ctx.told = told
        ctx.save_for_backward(*others)
        return number.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple:
        (upstream,) = gradients
        others = ctx.saved_tensors
        if torch.is_grad_enabled():
            upstream = upstream * held(torch.ones_like(upstream), others, ctx.told)
        return None, upstream, *(None,) * len(others)


class _Envelope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], sizes: tuple[int, int], told: str, *tensors: Any) -> Tensor:
        ctx.function, ctx.sizes, ctx.told = function, sizes, told
        ctx.save_for_backward(*tensors)
        count, moving = sizes
        return function(tensors[:count], tensors[count : count + moving]).clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple:
        count, width = ctx.sizes
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[3 + count : 3 + count + width]
        constants, moving, others = tensors[:count], tensors[count : count + width], tensors[count + width :]
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            if further:
                constants = [held(t, others, ctx.told) for t in constants]
                # Views, so that one tensor in two places is not differentiated twice.
                leaves = [t.view_as(t) if need else t for t, need in zip(moving, needed, strict=True)]
            else:
                leaves = [t.detach().requires_grad_() if need else t for t, need in zip(moving, needed, strict=True)]
            wanted = [t for t, need in zip(leaves, needed, strict=True) if need]
            out = ctx.function(constants, leaves)
            found: Any = [None] * len(wanted)
            if wanted and out.requires_grad:
                found = torch.autograd.grad(out, wanted, upstream[0], create_graph=further, allow_unused=True)
        answer = iter(found)
        felt = [next(answer) if need else None for need in needed]
        return None, None, None, *(None,) * count, *felt, *(None,) * len(others)

"""Derivatives that are differentiated again: those written by hand step aside for the definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from monge._transforms import gradient_of, leaves_of, placed
from monge.errors import CapabilityError

__all__ = ["again", "defined", "derivatives", "distances", "envelope", "held", "once"]


def again() -> bool:
    """Whether a backward runs for those who asked for its graph."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def derivatives(out: Tensor, inputs: Sequence[Tensor | None], upstream: Tensor) -> list[Tensor | None]:
    """Derivatives of ⟨out, upstream⟩ along the inputs that have one, themselves differentiable."""
    wanted = [k for k, t in enumerate(inputs) if t is not None and t.requires_grad]
    return placed(gradient_of([out], [inputs[k] for k in wanted], [upstream], True), wanted, len(inputs))


def defined(fast: Callable[..., Tensor], definition: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
    """``fast(*tensors)``, whose derivatives are differentiated again through the definition: torch has them once."""
    if torch.compiler.is_compiling() or not _asking(tensors):
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
    found = _asking(others)
    return _Held.apply(told, number, *found) if found else number  # type: ignore[no-any-return]


def once(number: Tensor, others: Sequence[Tensor | None], told: str) -> Tensor:
    """A number whose first derivative by others is right, by the envelope theorem; a second one is refused."""
    found = _asking(others)
    if not (found and number.requires_grad):
        return number
    return envelope(_product, (torch.ones_like(number),), (number,), found, told)


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


def _asking(tensors: Sequence[Tensor | None]) -> list[Tensor]:
    """Those by which somebody may differentiate."""
    return [t for t in tensors if t is not None and t.requires_grad] if torch.is_grad_enabled() else []


def _product(constants: Sequence[Tensor], moving: Sequence[Tensor]) -> Tensor:
    return constants[0] * moving[0]


class _Defined(torch.autograd.Function):
    """A graph of its own inside, which the first derivative goes through."""

    @staticmethod
    def forward(ctx: Any, fast: Callable[..., Tensor], definition: Callable[..., Tensor], *tensors: Any) -> Tensor:
        wanted = [k for k, need in enumerate(ctx.needs_input_grad[2:]) if need]
        leaves = leaves_of(tensors, wanted, False)
        with torch.enable_grad():
            out = fast(*leaves)
        ctx.definition, ctx.inner = definition, ([out], [leaves[k] for k in wanted], wanted)
        ctx.save_for_backward(*tensors)
        return out.detach()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple:
        tensors = ctx.saved_tensors
        if again():
            return None, None, *derivatives(ctx.definition(*tensors), tensors, upstream[0])
        out, leaves, wanted = ctx.inner
        found = torch.autograd.grad(out, leaves, upstream, retain_graph=True)
        return None, None, *placed(found, wanted, len(tensors))


class _Held(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, told: str, number: Tensor, *others: Tensor) -> Tensor:
        ctx.told = told
        return number.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple:
        raise CapabilityError(ctx.told)


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
        wanted = [k for k, need in enumerate(needed) if need]
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            if further:
                constants = [held(t, others, ctx.told) for t in constants]
                # Views, so that one tensor in two places is not differentiated twice.
                moving = [t.view_as(t) if need else t for t, need in zip(moving, needed, strict=True)]
            leaves = leaves_of(moving, wanted, further)
            out = ctx.function(constants, leaves)
            found = gradient_of([out], [leaves[k] for k in wanted], upstream, further)
        return None, None, None, *(None,) * count, *placed(found, wanted, width), *(None,) * len(others)

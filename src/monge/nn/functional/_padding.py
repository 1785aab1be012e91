"""Padding as zero mass, precision and scale: shared arithmetic of the attention layers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge._arrays import working_dtype
from monge._transforms import transformable

_F = TypeVar("_F", bound=Callable[..., Any])


def at_least_single(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in float64 if any is, else in float32: plans are normalised in no less."""
    dtype = working_dtype(*tensors)
    return tuple(tensor.to(dtype) for tensor in tensors)


def full_precision(tensor: Tensor) -> AbstractContextManager[Any]:
    """A region in which autocast leaves dtypes alone."""
    kind = tensor.device.type
    # Where it is off already, switching it off would take longer than some of the operations inside.
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def precise(function: _F) -> _F:
    """A decorator: the function as a node of every transform, for which autocast leaves dtypes alone."""

    @transformable(double=False)
    @wraps(function)
    def run(q: Tensor, *arguments: Any, **options: Any) -> Any:
        with full_precision(q):
            return function(q, *arguments, **options)

    return run  # type: ignore[return-value]


def scale_of(q: Tensor, scale: float | None) -> float:
    """The scale of dot-product scores, $d^{-1/2}$ unless given."""
    return q.shape[-1] ** -0.5 if scale is None else scale


def head_factor(number: float | Tensor, like: Tensor) -> float | Tensor:
    """A number for all heads as it is, one for each as a factor of a matrix per head."""
    return number.to(like.dtype)[..., None, None] if isinstance(number, Tensor) else number


def blank(points: Float[Tensor, "*b n d"], padding: Bool[Tensor, "*#b n"] | None) -> Float[Tensor, "*b n d"]:
    """Points with padded rows set to zero, so that neither their content nor their gradient can matter."""
    return points if padding is None else points.masked_fill(padding[..., None], 0.0)


def unpadded(padding: Bool[Tensor, "*b n"] | None, like: Tensor) -> Float[Tensor, "*b n"] | None:
    """One on points, zero on padding."""
    return None if padding is None else (~padding).to(like.dtype)


def shares(weights: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """Weights over their sum along the last dimension; zero where there is nothing to divide."""
    total = weights.sum(-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


def uniform(points: Float[Tensor, "*b n d"], padding: Bool[Tensor, "*#b n"] | None) -> Float[Tensor, "*b n"]:
    """Mass one spread over the points that are present; zero everywhere if none is."""
    if padding is None:
        return points.new_full(points.shape[:-1], 1.0 / max(1, points.shape[-2]))
    return shares((~padding).to(points.dtype)).expand(points.shape[:-1])


def unless_scored(
    q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b m d"], scale: float | Tensor, *, causal: bool = False
) -> Float[Tensor, "*b n 1"]:
    """Zero for every query whose scores are all numbers of the dtype, else NaN; to be added to what it reads.

    Fused and streamed kernels look at the largest score only, and give something finite where a score is NaN or has
    overflowed. The bound is d max|q_i| max|k_j| scale, so that no score has to be formed.
    """
    q, k = at_least_single(q.detach(), k.detach())
    scale = scale.detach() if isinstance(scale, Tensor) else scale
    # Not the norm of order infinity, whose kernel takes as long as the attention itself.
    if causal:
        last = torch.arange(q.shape[-2], device=q.device).clamp_max(k.shape[-2] - 1)
        most = k.abs().amax(-1, keepdim=True).cummax(-2).values[..., last, :]
    else:
        most = k.abs().amax((-2, -1), keepdim=True)
    return q.abs().amax(-1, keepdim=True) * (most * (scale * q.shape[-1])) * 0.0

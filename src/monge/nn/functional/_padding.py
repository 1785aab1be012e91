"""Padding as zero mass, precision and scale: shared arithmetic of the attention layers."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["absent", "at_least_single", "blank", "full_precision", "keep", "log_uniform", "scale_of", "uniform"]


def at_least_single(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in float64 if any is, else in float32: plans are normalised in no less."""
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return tuple(tensor.to(torch.float64 if wide else torch.float32) for tensor in tensors)


def full_precision(tensor: Tensor) -> torch.autocast:
    """A region in which autocast leaves dtypes alone."""
    return torch.autocast(device_type=tensor.device.type, enabled=False)


def scale_of(q: Tensor, scale: float | None) -> float:
    """The scale of dot-product scores, d^{-1/2} unless given."""
    return q.shape[-1] ** -0.5 if scale is None else scale


def blank(points: Float[Tensor, "*b n d"], padding: Bool[Tensor, "*#b n"] | None) -> Float[Tensor, "*b n d"]:
    """Points with padded rows set to zero, so that neither their content nor their gradient can matter."""
    return points if padding is None else points.masked_fill(padding[..., None], 0.0)


def keep(padding: Bool[Tensor, "*b n"] | None, like: Tensor) -> Float[Tensor, "*b n"] | None:
    """One on present points, zero on padding."""
    return None if padding is None else (~padding).to(like.dtype)


def uniform(points: Float[Tensor, "*b n d"], padding: Bool[Tensor, "*#b n"] | None) -> Float[Tensor, "*b n"]:
    """Mass one spread over the points that are present; zero everywhere if none is."""
    if padding is None:
        return points.new_full(points.shape[:-1], 1.0 / points.shape[-2])
    present = (~padding).to(points.dtype)
    return (present / present.sum(-1, keepdim=True).clamp_min(1.0)).expand(points.shape[:-1])


def log_uniform(points: Float[Tensor, "*b n d"], padding: Bool[Tensor, "*#b n"] | None) -> Float[Tensor, "*b n"]:
    """The logarithm of `uniform`: -inf on padding."""
    if padding is None:
        return points.new_full(points.shape[:-1], -math.log(points.shape[-2]))
    return uniform(points, padding).log()


def absent(padding: Bool[Tensor, "*b m"] | None) -> Bool[Tensor, "*b 1 1"] | None:
    """True where nothing at all is present."""
    return None if padding is None else padding.all(-1)[..., None, None]

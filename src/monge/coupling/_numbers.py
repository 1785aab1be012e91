"""Small pieces of arithmetic that every representation needs."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def fraction(above: Tensor, below: Tensor) -> Tensor:
    """Above / below, and zero with zero derivatives where ``below`` is zero: no mass is absence."""
    absent = below == 0
    return (above / below.masked_fill(absent, 1)).masked_fill(absent, 0)


def dust(mass: Float[Tensor, "*b"], count: int, dtype: torch.dtype) -> Float[Tensor, "*b"]:
    """The mass that cannot be told from none, in one of ``count`` rows or entries that share ``mass``.

    It is the rounding of sums in this dtype, and never more than a thousandth of what each has on average.
    """
    return mass * min(4 * torch.finfo(dtype).eps, 1e-3 / count)


def minus_x_log_x(x: Tensor) -> Tensor:
    """-x log x with 0 log 0 = 0, whose derivative at zero is taken to be zero."""
    return -x * x.masked_fill(x <= 0, 1).log()


def positive_log(x: Tensor) -> Tensor:
    """Log x where x > 0 and zero elsewhere, with zero derivatives there."""
    return x.masked_fill(x <= 0, 1).log()


def draw(weights: Float[Tensor, "*b n"], u: Float[Tensor, "*b k"]) -> Int[Tensor, "*b k"]:
    """Indices with probability proportional to ``weights``, by inversion at ``u`` in [0, 1).

    An index of zero weight is never drawn.
    """
    below = weights.detach().double().cumsum(-1)
    total = below[..., -1:]
    at = torch.minimum(u.double() * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(below.contiguous(), at.contiguous(), right=True).clamp_max(weights.shape[-1] - 1)

"""Clouds in units of their own, for powers of distances that would leave the range of numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import check_number
from monge.geometry import log_largest, log_reach
from monge.problem.epsilon import Relative

# Of the logarithm of the largest number, the share that powers may use without a thought.
_SAFE = 0.9
# An epsilon of so many doublings beyond all costs gives the plan a⊗b to the last digit.
_FLAT = 60.0


def in_range(x: Tensor, y: Tensor, p: float) -> bool:
    """Whether the p-th powers of all distances surely are finite, and squares of the largest ones are not zero."""
    finite = torch.finfo(working_dtype(x))
    size = max(log_largest(x), log_largest(y))
    reach = size + math.log(2) + math.log(x.shape[-1]) / 2
    return size == -math.inf or (
        max(p, 2.0) * reach < _SAFE * math.log(finite.max) and 2 * size > _SAFE * math.log(finite.tiny)
    )


def unit_of(x: Float[Tensor, "*#b n d"], y: Float[Tensor, "*#b m d"]) -> Float[Tensor, "*b"]:
    """The exponent of a power of two that no distance exceeds, per problem; zero where all points coincide."""
    reach = log_reach(x, y, 2.0)
    return (reach.masked_fill(reach == -math.inf, 0) / math.log(2)).ceil()


def rescaled(numbers: Tensor, exponent: Tensor) -> Tensor:
    """``numbers * 2**exponent`` without a rounding, though the power itself may be no number."""
    half = (exponent / 2).floor()
    return (numbers.double() * half.exp2() * (exponent - half).exp2()).to(numbers.dtype)


def scaled_epsilon(epsilon: float | Tensor | Relative, unit: Tensor, p: float, dtype: torch.dtype) -> Any:
    """Epsilon where costs are divided by ``2**(p unit)``, and so at most one."""
    if isinstance(epsilon, Relative):
        return epsilon
    if not isinstance(epsilon, Tensor):
        check_number("epsilon", epsilon, low=0.0)
        epsilon = torch.tensor(float(epsilon), dtype=torch.float64, device=unit.device)
    if not epsilon.is_floating_point() or not bool((epsilon > 0).all()):
        return epsilon
    wide = epsilon.double()
    floor = math.log2(torch.finfo(dtype).tiny)
    wanted = (wide.detach().log2() - p * unit).clamp(floor, _FLAT).exp2()
    return (wide * (wanted / wide.detach())).to(working_dtype(dtype))

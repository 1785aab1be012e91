"""How much entropy: a number, or a fraction of the mean cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monge._checks import check_number
from monge._value import Value, value
from monge.errors import DtypeError, InputError

__all__ = ["Relative", "relative"]


@value
class Relative(Value):
    """A scale-free epsilon: a fraction of the mean cost of each problem. Made by `relative`."""

    fraction: float


def relative(fraction: float) -> Relative:
    """An epsilon of ``fraction`` times the mean cost, whatever the units of the cost.

    The mean is <C, a⊗b> / (|a| |b|) over the finite costs. It is taken once for each problem of a batch, as a
    constant (no gradient flows through it), and the resolved epsilon is in the report.

    Args:
        fraction: Positive; 0.05 is a usual choice, 0.001 is nearly exact.

    Raises:
        InputError: If the fraction is not positive.

    Example:
        >>> from monge.problem import relative
        >>> relative(0.05)
        Relative(fraction=0.05)
    """
    check_number("fraction", fraction, low=0.0, strict=True)
    return Relative(float(fraction))


def resolve(epsilon: float | Tensor | Relative, geometry: Any, a: Tensor, b: Tensor) -> Tensor:
    """Epsilon as a tensor, one number per problem or one for all."""
    if isinstance(epsilon, Relative):
        with torch.no_grad():
            resolved = epsilon.fraction * geometry.mean(a, b)
        # Identical points cost nothing, and then any positive epsilon gives the same plan.
        return torch.where(resolved > 0, resolved, torch.ones_like(resolved))
    if isinstance(epsilon, Tensor):
        if not epsilon.is_floating_point():
            raise DtypeError(f"epsilon must be floating-point, but is {epsilon.dtype}: use epsilon.double().")
        resolved = epsilon
    else:
        check_number("epsilon", epsilon, low=0.0)
        resolved = torch.tensor(float(epsilon), dtype=a.dtype, device=a.device)
    if not bool((resolved.isfinite() & (resolved >= 0)).all()):
        raise InputError(f"epsilon must be finite and non-negative, but is {resolved.tolist()}.")
    if bool((resolved == 0).any()) and bool((resolved > 0).any()):
        raise InputError(
            "epsilon must be zero for all problems of a batch or positive for all, but is "
            f"{resolved.tolist()}: solve the exact problems apart."
        )
    return resolved

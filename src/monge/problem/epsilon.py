"""How much entropy: a number, or a fraction of the mean cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monge._checks import check_number
from monge._value import Value, value
from monge.errors import DtypeError, InputError

if TYPE_CHECKING:
    from monge.geometry import Geometry

__all__ = ["Relative", "relative"]


@value
class Relative(Value):
    """A scale-free epsilon: a fraction of the mean cost of each problem. Made by `relative`."""

    fraction: float


def relative(fraction: float) -> Relative:
    r"""An epsilon of ``fraction`` times the mean cost, whatever the units of the cost.

    The mean is <C, a⊗b> / (|a| |b|) over the finite costs. Where some costs are negative it is counted from the
    cheapest pair, so that a constant added to such costs changes nothing: the unit is
    $\overline{C} - \min(0, \min C)$. It is taken once for each problem of a batch, as a constant (no gradient flows
    through it), and the resolved epsilon is in the report. If every pair costs the same there is no unit, and none is
    needed, since every epsilon gives the plan a⊗b between fixed marginals: then epsilon is ``fraction`` itself.

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


def resolved_epsilon(epsilon: float | Tensor | Relative, geometry: Geometry, a: Tensor, b: Tensor) -> Tensor:
    """Epsilon as a tensor, one number per problem or one for all."""
    if isinstance(epsilon, Relative):
        return _fraction(epsilon.fraction, geometry, a, b)
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


@torch.no_grad()
def _fraction(fraction: float, geometry: Geometry, a: Tensor, b: Tensor) -> Tensor:
    """A fraction of the mean cost, of costs that may be negative above the cheapest pair."""
    unit = geometry.mean(a, b)
    size = unit.abs()
    if geometry._may_be_negative():
        cheapest, _ = geometry._ctransform(torch.where(b > 0, 0.0, -math.inf).to(unit.dtype))
        least = torch.where(a > 0, cheapest.to(unit.dtype), math.inf).amin(-1).clamp_max(0)
        unit, size = unit - least, size - least
    # Of equal negative costs rounding may leave a little.
    unit = unit.masked_fill(unit <= 16 * torch.finfo(unit.dtype).eps * size, 0)
    resolved = torch.where(unit == 0, torch.full_like(unit, fraction), fraction * unit)
    vanished = bool((unit == 0).any()) and geometry._vanishes()
    if vanished or not bool((resolved.isfinite() & (resolved >= torch.finfo(resolved.dtype).tiny)).all()):
        raise InputError(
            f"relative({fraction:g}) needs a mean cost within the range of {str(resolved.dtype).removeprefix('torch.')}"
            f", but the mean costs are {unit.tolist()}: scale the points or the costs, or use float64."
        )
    return resolved

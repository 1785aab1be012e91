"""How much entropy: a number, or a fraction of the mean cost."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge._checks import check_floating, check_number
from monge._value import Value, value
from monge.errors import InputError
from monge.geometry import Geometry

__all__ = ["Relative", "check_epsilons", "relative"]


@value
class Relative(Value):
    """A scale-free epsilon: a fraction of the mean cost of each problem. Made by `relative`."""

    fraction: float

    @torch.no_grad()
    def _resolved(self, geometry: Geometry, a: Tensor, b: Tensor) -> Tensor:
        """The fraction of the mean cost, of costs that may be negative above the cheapest pair, one per problem."""
        unit = geometry.mean(a, b)
        size = unit.abs()
        if geometry._may_be_negative():
            cheapest, _ = geometry._ctransform(torch.where(b > 0, 0.0, -math.inf).to(unit.dtype))
            least = torch.where(a > 0, cheapest.to(unit.dtype), math.inf).amin(-1).clamp_max(0)
            unit, size = unit - least, size - least
        # Of equal negative costs rounding may leave a little.
        unit = unit.masked_fill(unit <= 16 * torch.finfo(unit.dtype).eps * size, 0)
        resolved = torch.where(unit == 0, self.fraction, self.fraction * unit)
        vanished = bool((unit == 0).any()) and geometry._vanishes()
        if vanished or not bool((resolved.isfinite() & (resolved >= torch.finfo(resolved.dtype).tiny)).all()):
            raise InputError(
                f"relative({self.fraction:g}) needs a mean cost within the range of "
                f"{str(resolved.dtype).removeprefix('torch.')}, but the mean costs are {unit.tolist()}: scale the "
                "points or the costs, or use float64."
            )
        return resolved


def relative(fraction: float) -> Relative:
    r"""An epsilon of ``fraction`` times the mean cost, whatever the units of the cost.

    The mean is <C, a⊗b> / (|a| |b|) over the finite costs. If some costs are negative, the least cost is subtracted
    from it, so that a constant added to such costs changes nothing: the unit is $\overline{C} - \min(0, \min C)$. It is
    computed once for each problem of a batch, as a constant (no gradient passes through it), and the report contains
    the epsilon that follows. If every pair costs the same there is no such unit. Then epsilon is ``fraction`` itself,
    because between fixed marginals every epsilon gives the same plan a⊗b.

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


def check_epsilons(epsilon: Tensor) -> None:
    """One number per problem, or one for all: all positive, or all zero."""
    check_floating("epsilon", epsilon)
    if not bool((epsilon.isfinite() & (epsilon >= 0)).all()):
        raise InputError(f"epsilon must be finite and non-negative, but is {epsilon.tolist()}.")
    if bool((epsilon == 0).any()) and bool((epsilon > 0).any()):
        raise InputError(
            "epsilon must be zero for all problems of a batch or positive for all, but is "
            f"{epsilon.tolist()}: solve the exact problems in a batch of their own."
        )

"""Partial transport as a problem on lines and circles, and the rule for the mass that is moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from monge import kernels
from monge._checks import check_choice, check_floating, check_number
from monge._value import value
from monge.errors import InputError

from .._aligned_clouds import Clouds
from ..line import LineProblem
from ..slicer import Slicer

__all__ = ["Amount", "CircularPartial", "Partial", "period_of"]

Amount = float | Tensor | None


@value
class Partial(LineProblem):
    r"""Partial transport on every line separately (SOPT with a penalty, SPOT with a mass).

    Masses are used as they are, and every point has mass one if no masses are given; see `partial_cost`.

    Args:
        penalty: Price of leaving a unit of mass, on either side; a tensor broadcasts to (*b, slices).
        mass: The mass to move instead, or ``"knee"``. Without penalty and mass, all mass of the smaller side is moved.
        p: Order, at least 1.

    Source:
        Bai, Schmitzer, Thorpe, Kolouri, Sliced optimal partial transport (arXiv 2212.08049); Bonneel, Coeurjolly, SPOT:
        Sliced partial optimal transport (2019).

    Example:
        >>> Partial(penalty=0.5)
        Partial(penalty=0.5, mass=None, p=2.0)
    """

    penalty: Amount = None
    mass: Amount | str = None
    p: float = 2.0

    _scalars: ClassVar[int] = 16  # two indices and a mass besides the coordinate and its gradient, of eight bytes each
    _period: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_number("p", float(self.p), low=1.0)
        stopping(self.penalty, self.mass, Clouds(*torch.empty(2, 1)))

    def _costs(self, lines: Clouds) -> Tensor:
        return self._by(kernels.partial_cost, lines, self._period)

    def _posed(self, slicer: Slicer, clouds: Clouds, chunk: slice) -> Clouds:
        return slicer._lines(clouds, chunk)  # masses are used as they are, on every slice

    def _by(self, kernel: Callable[..., Any], lines: Clouds, period: float) -> Any:
        """What a kernel says about positions and masses."""
        rule, level = stopping(self.penalty, self.mass, lines)
        return kernel(*lines, rule=rule, level=level, p=float(self.p), period=period)


@value
class CircularPartial(Partial):
    """Partial transport on every circle separately; coordinates in turns.

    Args:
        penalty: Price of leaving a unit of mass, on either side, in turns.
        mass: How much to move instead, or ``"knee"``.
        p: Order; other orders than 1 are linear programs.

    Source:
        Kolouri, PAWC: Efficient computation of partial Wasserstein distances on the circle (2026).

    Example:
        >>> CircularPartial(mass=3.0)
        CircularPartial(penalty=None, mass=3.0, p=1.0)
    """

    p: float = 1.0
    _period: ClassVar[float] = 1.0


def period_of(circumference: float | None) -> float:
    """The period for the kernels: the length of the circle, or zero for a line."""
    if circumference is None:
        return 0.0
    check_number("circumference", float(circumference), low=0.0, strict=True)
    return float(circumference)


def stopping(penalty: Amount, mass: Amount | str, clouds: Clouds) -> tuple[str, Tensor]:
    """The rule and the level for `kernels.partial_cost`; the level broadcasts to the batch, in float64.

    Without penalty and mass, the level is the mass of the smaller of two measures on lines; every point has mass one if
    no masses are given.
    """
    like = clouds.x
    if penalty is not None and mass is not None:
        raise InputError(
            f"penalty and mass exclude each other, but penalty={penalty!r} and mass={mass!r} were given: leave one of "
            "them out; a penalty already determines the mass."
        )
    if penalty is not None:
        return "penalty", _number("penalty", penalty, like)
    if isinstance(mass, str):
        check_choice("mass", mass, ("knee",))
        return "knee", like.new_zeros((), dtype=torch.float64)
    if mass is not None:
        return "mass", _number("mass", mass, like)
    whole = [
        like.new_tensor(side.shape[-1], dtype=torch.float64) if held is None else held.detach().double().sum(-1)
        for side, held in ((like, clouds.a), (clouds.y, clouds.b))
    ]
    return "mass", torch.minimum(*whole)


def _number(name: str, given: float | Tensor, like: Tensor) -> Tensor:
    if not isinstance(given, Tensor):
        check_number(name, given, low=0.0)
        return like.new_tensor(float(given), dtype=torch.float64)
    check_floating(name, given)
    if not bool(((given >= 0) & given.isfinite()).all()):
        raise InputError(
            f"{name} must be finite and not negative, but reaches from {float(given.min()):g} to "
            f"{float(given.max()):g}: to move all mass that can be moved, leave out penalty and mass."
        )
    return given.to(device=like.device, dtype=torch.float64)

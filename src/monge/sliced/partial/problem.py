"""Partial transport as the problem that slices solve."""

from __future__ import annotations

import torch
from torch import Tensor

from monge import kernels
from monge._checks import check_number
from monge._value import value

from .._aligned_clouds import per_slice
from ..line import LineProblem
from ._stopping_rule import Amount, stopping

__all__ = ["CircularPartial", "Partial"]


@value
class Partial(LineProblem):
    r"""Partial transport on every line on its own (SOPT with a penalty, SPOT with a mass).

    Masses are used as they are, one each where none are given; see `partial_cost`.

    Args:
        penalty: Price of leaving a unit of mass, on either side; a tensor broadcasts to (*b, slices).
        mass: How much to move instead, or ``"knee"``. Without penalty and mass all that the smaller side holds.
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

    def __post_init__(self) -> None:
        check_number("p", float(self.p), low=1.0)
        stopping(self.penalty, self.mass, 1, 1, None, None, torch.empty(()))

    def _costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        return self._solve(u, v, a, b, 0.0)

    def _solve(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None, period: float) -> Tensor:
        a, b = per_slice(a, b)
        rule, level = stopping(self.penalty, self.mass, u.shape[-1], v.shape[-1], a, b, u)
        return kernels.partial_cost(u, v, a, b, rule=rule, level=level, p=float(self.p), period=period)


@value
class CircularPartial(Partial):
    """Partial transport on every circle on its own, coordinates in turns.

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

    def _costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        return self._solve(u, v, a, b, 1.0)

"""The C++ twin: a heap over neighbours for equal weights, a pass over kinks or a growing staircase for others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._rows import ROWS, RowProblem, row_loop
from ._form import Pieces, Profile

__all__ = ["partial_plan", "partial_profile"]

_RULES = ("penalty", "mass", "knee")
_ORDER = "float[1 <= p] p, float[0 <= period < inf] period"


def partial_plan(
    problem: RowProblem, p: float, period: float, rule: str, level: Tensor, width: int, potentials: bool
) -> Pieces:
    """Plans of at most ``width`` entries."""
    return Pieces(*_partial_plan(*problem[:4], p, period, _RULES.index(rule), level, width, potentials))


def partial_profile(problem: RowProblem, p: float, period: float, stop: float, most: int) -> Profile:
    """The first ``most`` steps, or those before the first marginal that is not below ``stop``."""
    return Profile(*_partial_profile(problem.x, problem.y, p, period, stop, most))


def _pieces(x: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    *_, width, potentials = rest
    prices = (t.new_empty(t.shape if potentials else 0, dtype=torch.float64) for t in (x, y))
    return *_whole(x, width, width), *_real(x, width, 1), *prices


def _profile(x: Tensor, y: Tensor, p: float, period: float, stop: float, most: int) -> tuple[Tensor, ...]:
    marginal, *places = _real(x, most, x.shape[1], y.shape[1])
    return marginal, *_whole(x, most, most), *places


def _whole(x: Tensor, *widths: int) -> list[Tensor]:
    return [x.new_empty(len(x), width, dtype=torch.int64) for width in widths]


def _real(x: Tensor, *widths: int) -> list[Tensor]:
    return [x.new_empty(len(x), width, dtype=torch.float64) for width in widths]


_partial_plan = row_loop(
    f"partial_plan({ROWS}, {_ORDER}, int[0 <= rule <= 2] rule, Tensor[#rows 1; float64] level, "
    "int[1 <= width <= n+m] width, bool potentials) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _pieces,
    given=8,
)
_partial_profile = row_loop(
    f"partial_profile(Tensor[rows n] x, Tensor[rows m] y, {_ORDER}, float[-inf <= stop] stop, "
    "int[0 <= most <= n] most) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _profile,
    given=5,
)

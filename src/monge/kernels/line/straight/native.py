"""The C++ twin: radix sorts and one walk a row, rows in parallel."""

from __future__ import annotations

import torch
from torch import Tensor

from .._rows import ROWS, Priced, RowProblem, row_loop

__all__ = ["derivatives_of", "line_distance"]


def line_distance(problem: RowProblem, positions: bool, potentials: bool, p: float) -> Priced:
    """W_p^p of every row, with its derivatives where asked."""
    total, *found = _line_distance(*problem[:4], p, positions, potentials)
    return Priced(total[:, 0].to(problem.x.dtype), *found)


def derivatives_of(x: Tensor, y: Tensor, positions: bool, potentials: bool) -> tuple[Tensor, ...]:
    """Room for the derivatives by both positions, and for both potentials, as far as they are asked for."""
    return (
        *(torch.empty_like(t, memory_format=torch.contiguous_format) if positions else t.new_empty(0) for t in (x, y)),
        *(t.new_empty(t.shape if potentials else 0, dtype=torch.float64) for t in (x, y)),
    )


def _allocate(x: Tensor, y: Tensor, a: object, b: object, p: float, positions: bool, potentials: bool) -> tuple:
    return x.new_empty(len(x), 1, dtype=torch.float64), *derivatives_of(x, y, positions, potentials)


_line_distance = row_loop(
    f"line_distance({ROWS}, float p, bool positions, bool potentials) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _allocate,
    given=5,
)

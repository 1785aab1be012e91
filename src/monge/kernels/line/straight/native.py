"""The C++ twin: radix sorts and one walk a row, rows in parallel."""

from __future__ import annotations

from .._rows import Priced, RowProblem, distance_loop

__all__ = ["line_distance"]

_line_distance = distance_loop("line_distance")


def line_distance(problem: RowProblem, positions: bool, potentials: bool, p: float) -> Priced:
    """W_p^p of every row, with its derivatives where asked."""
    return Priced(*_line_distance(*problem[:4], p, positions, potentials))

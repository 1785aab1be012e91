"""The C++ twin: radix sorts and one walk a row, rows in parallel."""

from __future__ import annotations

import torch
from torch import Tensor

from .._load import AVAILABLE, module
from .._operator import custom_op
from .._rows import Priced, RowProblem

__all__ = ["AVAILABLE", "line_distance"]


def line_distance(problem: RowProblem, slopes: bool, potentials: bool, p: float) -> Priced:
    """W_p^p of every row, with its derivatives where asked."""
    return Priced(*_line_distance(problem.x, problem.y, problem.a, problem.b, p, slopes, potentials))


@custom_op("line_distance")
def _line_distance(
    x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float, slopes: bool, potentials: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    cost, dx, dy, f, g = _line_outputs(x, y, a, b, p, slopes, potentials)
    total = cost.new_empty(len(x), 1, dtype=torch.float64)
    module().line_distance(
        x.detach().contiguous().numpy(),
        y.detach().contiguous().numpy(),
        None if a is None else a.detach().contiguous().numpy(),
        None if b is None else b.detach().contiguous().numpy(),
        p,
        total.numpy(),
        dx.numpy() if slopes else None,
        dy.numpy() if slopes else None,
        f.numpy() if potentials else None,
        g.numpy() if potentials else None,
        torch.get_num_threads(),
    )
    cost.copy_(total[:, 0])
    return cost, dx, dy, f, g


@_line_distance.register_fake
def _line_outputs(
    x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float, slopes: bool, potentials: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows = x.shape[0]
    return (
        x.new_empty(rows),
        torch.empty_like(x, memory_format=torch.contiguous_format) if slopes else x.new_empty(0),
        torch.empty_like(y, memory_format=torch.contiguous_format) if slopes else y.new_empty(0),
        x.new_empty(rows, x.shape[1] if potentials else 0, dtype=torch.float64),
        x.new_empty(rows, y.shape[1] if potentials else 0, dtype=torch.float64),
    )

"""A coupling as a picture of its matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from monge._checks import check_count
from monge.coupling import Coupling

from ._canvas import INK, PAPER, SOURCE, TARGET, axes, check_one, matrix, strip, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plan"]


def plan(
    P: Coupling,
    *,
    rows: Int[Tensor, " n"] | None = None,
    columns: Int[Tensor, " m"] | None = None,
    resolution: int = 256,
    ax: Axes | None = None,
) -> Axes:
    """Draw the matrix of a plan, darker where more mass goes, with its marginals along the sides.

    A plan with more rows or columns than ``resolution`` is averaged into that many cells, block by block: the
    whole matrix is never built.

    Args:
        P: One plan, not a batch.
        rows: An order of the sources, such as ``x[:, 0].argsort()``.
        columns: An order of the targets.
        resolution: The most cells along a side.
        ax: Where to draw.

    Returns:
        The axes drawn into.

    Raises:
        ShapeError: If ``P`` is a batch.

    Example:
        >>> import torch
        >>> from monge.coupling import ProductCoupling
        >>> from monge.plot import plan
        >>> picture = plan(ProductCoupling(torch.ones(3), torch.full((4,), 0.75)))
        >>> picture.get_title()
        'ProductCoupling 3 × 4'
    """
    check_count("resolution", resolution)
    check_one(P)
    n, m = P.shape
    cells = averaged(P, rows, columns, resolution)
    canvas = axes(ax, 5.2, 5.2)
    # A few strong entries should not make all others invisible: a square root spreads the small ones, and the strongest
    # cells may saturate.
    shown = cells.sqrt()
    top = float(shown.flatten().kthvalue(max(1, round(0.995 * shown.numel()))).values) or float(shown.max()) or 1.0
    matrix(canvas, shown, (n, m), [PAPER, "#f4a582", "#b2182b", INK], 0.0, top)
    titled(canvas, f"{type(P).__name__} {n} × {m}")
    canvas.title.set_position((0.5, 1.12))
    strip(canvas, "left", cells.mean(1), SOURCE)
    strip(canvas, "top", cells.mean(0), TARGET)
    return canvas


def averaged(P: Coupling, rows: Tensor | None, columns: Tensor | None, resolution: int) -> Tensor:
    """The matrix of the plan, averaged into at most ``resolution`` cells a side."""
    n, m = P.shape
    row_cell = _cells(n, rows, resolution).to(P.device)
    column_cell = _cells(m, columns, resolution).to(P.device)
    height, width = min(n, resolution), min(m, resolution)
    total = torch.zeros(height, width, dtype=torch.float64, device=P.device)
    with torch.no_grad():
        for block_rows, block in P.blocks(max_bytes=2**26):
            narrow = torch.zeros(block.shape[0], width, dtype=torch.float64, device=P.device)
            narrow.index_add_(1, column_cell, block.to(torch.float64))
            total.index_add_(0, row_cell[block_rows], narrow)
    # A mean, since neighbouring cells may hold different numbers of rows.
    return total / (row_cell.bincount()[:, None] * column_cell.bincount())


def _cells(count: int, order: Tensor | None, resolution: int) -> Tensor:
    """For each index, the cell of the picture where it falls."""
    rank = torch.arange(count) if order is None else order.argsort().cpu()
    return rank * min(count, resolution) // count

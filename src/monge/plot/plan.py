"""A coupling as a picture of its matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from monge._checks import check_number
from monge.coupling import Coupling
from monge.errors import ShapeError

from ._canvas import INK, PAPER, SOURCE, TARGET, array, axes, quiet

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
    from matplotlib.colors import LinearSegmentedColormap

    check_number("resolution", resolution, low=1)
    if P.batch_shape:
        raise ShapeError(f"P must be one plan, but is a batch of shape {tuple(P.batch_shape)}: draw P[0].")
    n, m = P.shape
    cells = averaged(P, rows, columns, resolution)
    canvas = axes(ax, 5.2, 5.2)
    colours = LinearSegmentedColormap.from_list("monge", [PAPER, "#f4a582", "#b2182b", INK])
    # A few strong entries should not make all others invisible: a square root spreads the small ones, and the strongest
    # cells may saturate.
    shown = cells.sqrt()
    top = float(shown.flatten().kthvalue(max(1, round(0.995 * shown.numel()))).values) or float(shown.max()) or 1.0
    canvas.imshow(
        array(shown), cmap=colours, vmin=0, vmax=top, aspect="auto", extent=(0, m, n, 0), interpolation="nearest"
    )
    quiet(canvas, f"{type(P).__name__} {n} × {m}", frame=True)
    for side, marginal, colour in (("left", cells.mean(1), SOURCE), ("top", cells.mean(0), TARGET)):
        _along(canvas, side, marginal, colour)
    return canvas


def _along(canvas: Axes, side: str, marginal: Tensor, colour: str) -> None:
    """A marginal as a filled curve outside one side of the matrix."""
    left = side == "left"
    strip = canvas.inset_axes((-0.13, 0, 0.11, 1) if left else (0, 1.02, 1, 0.11))
    height = array(torch.cat([marginal[:1], marginal]))
    place = range(len(height))
    if left:
        strip.fill_betweenx(place, height, step="pre", color=colour, alpha=0.7, lw=0)
        strip.set(ylim=(len(marginal), 0), xlim=(height.max() * 1.05 or 1, 0))
    else:
        strip.fill_between(place, height, step="pre", color=colour, alpha=0.7, lw=0)
        strip.set(xlim=(0, len(marginal)), ylim=(0, height.max() * 1.05 or 1))
        canvas.title.set_position((0.5, 1.12))
    strip.set_axis_off()


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

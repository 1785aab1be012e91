"""Measurements over steps, one line a contestant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ._canvas import INK, axes, open_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curves"]


def curves(
    series: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]],
    *,
    title: str = "",
    floor: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw runs as thin lines, those of one name in one colour, and their mean as a thick one.

    Args:
        series: for each name, its runs as places and heights.
        title: above the picture.
        floor: a height to mark by a dashed line, such as the rate of guessing.
        ax: where to draw.

    Returns:
        The axes drawn into.

    Example:
        >>> from monge.plot import curves
        >>> picture = curves({"softmax": [([1, 2], [0.5, 0.7]), ([1, 2], [0.6, 0.8])]}, title="accuracy")
        >>> len(picture.lines)
        3
    """
    from matplotlib import colormaps

    canvas = axes(ax, 6.0, 3.6)
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for index, (name, runs) in enumerate(series.items()):
        colour = colours[index % len(colours)]
        for place, height in runs:
            canvas.plot(place, height, color=colour, lw=0.8, alpha=0.5 if len(runs) > 1 else 0.0)
        # Runs that stopped early are short: the mean is over those that are still there.
        heights: dict[float, list[float]] = {}
        for place, height in runs:
            for x, y in zip(place, height, strict=True):
                heights.setdefault(x, []).append(y)
        shared = sorted(heights)
        mean = [sum(heights[x]) / len(heights[x]) for x in shared]
        canvas.plot(shared, mean, color=colour, lw=2, label=name)
    if floor is not None:
        canvas.axhline(floor, color=INK, lw=0.8, ls="--")
    open_frame(canvas, title)
    if series:
        canvas.legend(frameon=False, fontsize=8)
    return canvas

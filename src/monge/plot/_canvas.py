"""What every picture shares: figures without global state, and one set of colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monge.coupling import Coupling
from monge.errors import InputError, ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK = "#ffffff", "#22223b"
SOURCE, TARGET, LINK = "#2a6f97", "#e76f51", "#8d99ae"


def figure(width: float, height: float) -> Figure:
    """A figure that belongs to nobody: drawn off screen, whatever back end the user's session has.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        The figure, empty; its axes are what the pictures of this room draw into.

    Raises:
        InputError: If matplotlib is missing.

    Example:
        >>> from monge.plot import curves, figure
        >>> left, right = figure(8.0, 3.0).subplots(1, 2)
        >>> picture = curves({"softmax": [([1, 2], [0.5, 0.7])]}, ax=left)
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("Pictures need matplotlib, which is missing: pip install 'monge[plot]'.") from error
    made = Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(made)
    return made


def axes(ax: Axes | None, width: float = 5.0, height: float = 5.0) -> Axes:
    """The axes given, or those of a new figure."""
    return figure(width, height).add_subplot() if ax is None else ax


def quiet(ax: Axes, title: str | None = None, *, frame: bool = False) -> None:
    """No ticks, no frame, a small title."""
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(frame)
        spine.set_color("#d0d0d8")
    if title:
        titled(ax, title)


def titled(ax: Axes, title: str) -> None:
    """A small title."""
    ax.set_title(title, color=INK, fontsize=11)


def open_frame(ax: Axes, title: str) -> None:
    """A small title, and no frame above and at the right."""
    titled(ax, title)
    ax.spines[["top", "right"]].set_visible(False)


def matrix(ax: Axes, cells: Tensor, shape: Sequence[int], colours: list[str], low: float, high: float) -> None:
    """Cells in a frame of ``shape`` rows and columns, their numbers from ``low`` to ``high`` as colours."""
    from matplotlib.colors import LinearSegmentedColormap

    n, m = shape
    ax.imshow(
        array(cells), cmap=LinearSegmentedColormap.from_list("monge", colours), vmin=low, vmax=high, aspect="auto",
        extent=(0, m, n, 0), interpolation="nearest",
    )  # fmt: skip
    quiet(ax, frame=True)


def strip(ax: Axes, side: str, heights: Tensor, colour: str, *, least: float = 0.0) -> Axes:
    """Numbers as a filled curve outside the left or the top side of a matrix, at least ``least`` high."""
    left, count = side == "left", len(heights)
    drawn = ax.inset_axes((-0.13, 0, 0.11, 1) if left else (0, 1.02, 1, 0.13))
    fill = drawn.fill_betweenx if left else drawn.fill_between
    fill(range(count + 1), array(torch.cat([heights[:1], heights])), step="pre", color=colour, alpha=0.7, lw=0)
    top = max(least, 1.05 * float(heights.nan_to_num().max())) or 1
    drawn.set(**{"ylim": (count, 0), "xlim": (top, 0)} if left else {"xlim": (0, count), "ylim": (0, top)})
    drawn.set_axis_off()
    return drawn


def check_one(P: Coupling, name: str = "P", remedy: str = "draw P[0]") -> None:
    """A coupling must be one plan."""
    if P.batch_shape:
        raise ShapeError(f"{name} must be one plan, but is a batch of shape {tuple(P.batch_shape)}: {remedy}.")


def array(tensor: Tensor) -> Any:
    """A NumPy array that matplotlib can draw."""
    return tensor.detach().to("cpu", torch.float64).numpy()


def plane(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two clouds as they look in the plane: as they are in two dimensions, on two lines in one, else projected.

    More than two dimensions are projected onto the two principal axes of both clouds together.
    """
    x, y = x.detach().to("cpu", torch.float64), y.detach().to("cpu", torch.float64)
    if x.shape[-1] == 2:
        return x, y
    if x.shape[-1] == 1:
        return torch.cat([x, torch.ones_like(x)], -1), torch.cat([y, torch.zeros_like(y)], -1)
    both = torch.cat([x, y])
    centre = both.mean(0)
    basis = torch.linalg.eigh((both - centre).T @ (both - centre)).eigenvectors[:, -2:].flip(-1)
    # An eigenvector has no sign of its own: let its largest entry be positive, so that pictures can be compared.
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    basis = basis * largest.sign()
    return (x - centre) @ basis, (y - centre) @ basis

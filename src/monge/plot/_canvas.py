"""What every picture shares: figures without global state, and one set of colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from monge.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "LINK", "PAPER", "SOURCE", "TARGET", "array", "axes", "figure", "plane", "quiet"]

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
        ax.set_title(title, color=INK, fontsize=11)


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

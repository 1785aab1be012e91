"""Pictures of pictures: palettes, and one photograph in the colours of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_count
from monge.errors import ShapeError

from ._canvas import INK, array, figure, plane, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["colour_transfer", "palette"]

LUMINANCE = (0.2126, 0.7152, 0.0722)


def palette(image: Float[Tensor, "h w 3"], *, columns: int = 48, rows: int = 5) -> Float[Tensor, "rows columns 3"]:
    """The colours of a photograph as swatches of equal mass: dark to light from the left, by saturation downwards.

    Args:
        image: Red, green and blue in [0, 1].
        columns: How many steps of lightness.
        rows: How many swatches for each.

    Returns:
        The mean colour of each swatch.

    Raises:
        ShapeError: If ``image`` is no colour image, or has fewer pixels than swatches.

    Example:
        >>> import torch
        >>> from monge.plot import palette
        >>> palette(torch.rand(20, 30, 3), columns=8, rows=3).shape
        torch.Size([3, 8, 3])
    """
    check_count("columns", columns)
    check_count("rows", rows)
    if image.ndim != 3 or image.shape[-1] != 3 or image.shape[0] * image.shape[1] < rows * columns:
        raise ShapeError(
            f"image must have shape (h, w, 3) and at least {rows * columns} pixels, but has {tuple(image.shape)}."
        )
    pixels = image.reshape(-1, 3)
    luminance = pixels @ pixels.new_tensor(LUMINANCE)
    swatches = []
    for column in pixels[luminance.argsort()].tensor_split(columns):
        saturation = column.amax(-1) - column.amin(-1)
        swatches.append(torch.stack([part.mean(0) for part in column[saturation.argsort()].tensor_split(rows)]))
    return torch.stack(swatches, 1).clamp(0, 1)


def colour_transfer(
    source: Float[Tensor, "h w 3"],
    target: Float[Tensor, "k l 3"],
    moved_source: Float[Tensor, "h w 3"],
    moved_target: Float[Tensor, "k l 3"],
    *,
    caption: str = "",
    dots: int = 4000,
) -> Figure:
    """Draw two photographs above the same two in each other's colours, with palettes and clouds of colours.

    Args:
        source: A photograph.
        target: Another one.
        moved_source: The first in the colours of the second.
        moved_target: The second in the colours of the first.
        caption: A line below.
        dots: The most pixels to draw in a cloud.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from monge.plot import colour_transfer
        >>> one, two = torch.rand(2, 20, 30, 3)
        >>> len(colour_transfer(one, two, two, one).axes)
        12
    """
    drawn = figure(14.6, 9.6)
    # Two rows of two photographs with their palettes; at the right, the photographs as clouds of colours.
    grid = drawn.add_gridspec(4, 3, width_ratios=[4, 4, 2.4], height_ratios=[4, 0.45, 4, 0.45])
    aside = grid[:, 2].subgridspec(4, 1)
    images = (source, target, moved_source, moved_target)
    titles = ("source", "target", "source in the colours of the target", "target in the colours of the source")
    clouds = [_sample(image, dots) for image in images]
    sizes = [len(cloud) for cloud in clouds]
    one, two = plane(torch.cat(clouds[:2]), torch.cat(clouds[2:]))
    flats = (*one.split(sizes[:2]), *two.split(sizes[2:]))
    low, high = torch.cat(flats).amin(0), torch.cat(flats).amax(0)
    for k, (image, title, cloud, flat) in enumerate(zip(images, titles, clouds, flats, strict=True)):
        row, column = divmod(k, 2)
        photograph = drawn.add_subplot(grid[2 * row, column])
        photograph.imshow(array(image.clamp(0, 1)), interpolation="lanczos")
        quiet(photograph, title)
        strip = drawn.add_subplot(grid[2 * row + 1, column])
        strip.imshow(array(palette(image)), aspect="auto", interpolation="nearest")
        quiet(strip)
        _cloud(drawn.add_subplot(aside[k]), flat, cloud, low, high)
    if caption:
        drawn.supxlabel(caption, color=INK, fontsize=10)
    return drawn


def _cloud(panel: Axes, flat: Tensor, colours: Tensor, low: Tensor, high: Tensor) -> None:
    """Pixels as dots of their own colour, in the plane where all three clouds are drawn."""
    panel.scatter(*array(flat).T, c=array(colours.clamp(0, 1)), s=9, linewidths=0)
    margin = 0.04 * (high - low)
    across, up = array(torch.stack([low - margin, high + margin])).T
    panel.set(xlim=across, ylim=up, aspect="equal")
    quiet(panel)


def _sample(image: Tensor, count: int) -> Tensor:
    """Evenly spread pixels: enough to see the cloud of colours."""
    pixels = image.detach().reshape(-1, 3)
    return pixels[torch.linspace(0, len(pixels) - 1, min(count, len(pixels))).long()].double().cpu()

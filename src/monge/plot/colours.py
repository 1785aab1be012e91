"""Pictures of pictures: palettes, and one photograph in the colours of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import check_number
from ..errors import ShapeError
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
    check_number("columns", columns, low=1)
    check_number("rows", rows, low=1)
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
    result: Float[Tensor, "h w 3"],
    *,
    caption: str = "",
    dots: int = 4000,
) -> Figure:
    """Draw two photographs, the first in the colours of the second, and for each its palette and cloud of colours.

    Args:
        source: The photograph whose shapes stay.
        target: The photograph that gives the colours.
        result: The first in the colours of the second.
        caption: A line below.
        dots: The most pixels to draw in a cloud.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from monge.plot import colour_transfer
        >>> picture = torch.rand(20, 30, 3)
        >>> len(colour_transfer(picture, picture, picture).axes)
        9
    """
    drawn = figure(15.0, 7.4)
    grid = drawn.add_gridspec(3, 3, height_ratios=[4.3, 0.55, 3.4])
    images = {"source": source, "target": target, "source in the colours of the target": result}
    clouds = [_sample(image, dots) for image in images.values()]
    flat_source, flat_target = plane(clouds[0], clouds[1])
    flat_result = _follow(clouds, flat_source, flat_target)
    low = torch.cat([flat_source, flat_target]).amin(0)
    high = torch.cat([flat_source, flat_target]).amax(0)
    for k, ((title, image), cloud, flat) in enumerate(
        zip(images.items(), clouds, (flat_source, flat_target, flat_result), strict=True)
    ):
        photograph = drawn.add_subplot(grid[0, k])
        photograph.imshow(array(image.clamp(0, 1)), interpolation="lanczos")
        quiet(photograph, title)
        strip = drawn.add_subplot(grid[1, k])
        strip.imshow(array(palette(image)), aspect="auto", interpolation="nearest")
        quiet(strip)
        _cloud(drawn.add_subplot(grid[2, k]), flat, cloud, low, high)
    if caption:
        drawn.supxlabel(caption, color=INK, fontsize=10)
    return drawn


def _cloud(panel: Axes, flat: Tensor, colours: Tensor, low: Tensor, high: Tensor) -> None:
    """Pixels as dots of their own colour, in the plane where all three clouds are drawn."""
    panel.scatter(*array(flat).T, c=array(colours.clamp(0, 1)), s=9, linewidths=0)
    margin = 0.04 * (high - low)
    panel.set(xlim=array(torch.stack([low - margin, high + margin])[:, 0]), aspect="equal")
    panel.set(ylim=array(torch.stack([low - margin, high + margin])[:, 1]))
    quiet(panel)


def _sample(image: Tensor, count: int) -> Tensor:
    """Evenly spread pixels: enough to see the cloud of colours."""
    pixels = image.detach().reshape(-1, 3)
    return pixels[torch.linspace(0, len(pixels) - 1, min(count, len(pixels))).long()].double().cpu()


def _follow(clouds: list[Tensor], flat_source: Tensor, flat_target: Tensor) -> Tensor:
    """The third cloud in the plane of the first two: the affine map that took those there."""
    both, flat = torch.cat(clouds[:2]), torch.cat([flat_source, flat_target])
    ones = torch.ones(len(both), 1, dtype=both.dtype)
    map_ = torch.linalg.lstsq(torch.cat([both, ones], 1), flat, driver="gelsd").solution
    return torch.cat([clouds[2], ones.new_ones(len(clouds[2]), 1)], 1) @ map_

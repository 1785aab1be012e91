"""A coupling as the lines between two clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._checks import check_count, check_points
from monge.coupling import Coupling
from monge.errors import ShapeError

from ._canvas import LINK, PAPER, SOURCE, TARGET, array, axes, check_one, plane, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["links", "strongest_links"]


def links(
    P: Coupling,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    strongest: int = 3000,
    colours: tuple[Any, Any] = (SOURCE, TARGET),
    ax: Axes | None = None,
) -> Axes:
    """Draw two clouds and the strongest links of a plan between them; a point is as large as its mass.

    Clouds on a line are drawn on two lines, and clouds in more than two dimensions are projected onto their two
    principal axes.

    Args:
        P: One plan, not a batch.
        x: The sources.
        y: The targets.
        strongest: The most links to draw.
        colours: Of the sources and of the targets; one colour, or one for each point.
        ax: Where to draw.

    Returns:
        The axes drawn into.

    Raises:
        ShapeError: If ``P`` is a batch, or the clouds are not those of the plan.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling
        >>> from monge.plot import links
        >>> x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
        >>> P = PermutationCoupling(torch.arange(5), torch.full((5,), 0.2))
        >>> len(links(P, x, x + 1).collections[0].get_segments())
        5
    """
    from matplotlib.collections import LineCollection

    check_points("x", x)
    check_points("y", y)
    check_count("strongest", strongest)
    check_one(P)
    if (x.shape[0], y.shape[0]) != tuple(P.shape) or x.shape[1:] != y.shape[1:]:
        raise ShapeError(
            f"x and y must be the {P.shape[0]} sources and {P.shape[1]} targets of the plan in one space, but have "
            f"shapes {tuple(x.shape)} and {tuple(y.shape)}: pass the clouds that the plan was computed from."
        )
    canvas = axes(ax, 6.0, 6.0)
    flat_x, flat_y = plane(x, y)
    with torch.no_grad():
        i, j, w = strongest_links(P, strongest)
        mass_x, mass_y = P.marginals()
    ends = torch.stack([flat_x[i.cpu()], flat_y[j.cpu()]], 1)
    opacity = array((w / w.max().clamp_min(torch.finfo(w.dtype).tiny)).sqrt()) if len(w) else []
    # Many links wash each other out unless each is fainter.
    opacity = [min(0.85, 0.15 + 60 / len(w)) * share for share in opacity]
    canvas.add_collection(LineCollection(list(array(ends)), colors=LINK, linewidths=0.6, alpha=opacity or None))
    for points, mass, colour in ((flat_x, mass_x, colours[0]), (flat_y, mass_y, colours[1])):
        size = array(mass / mass.max().clamp_min(torch.finfo(mass.dtype).tiny)) * _dot(len(points)) + 1
        canvas.scatter(*array(points).T, s=size, c=colour, edgecolors=PAPER, linewidths=0.3, zorder=3)
    canvas.autoscale_view()
    if x.shape[-1] > 1:
        canvas.set_aspect("equal", adjustable="datalim")
    quiet(canvas)
    return canvas


def strongest_links(P: Coupling, count: int) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"], Float[Tensor, " k"]]:
    """At most ``count`` of the largest entries of a plan, weakest first so that the strongest are drawn on top.

    Enough entries of every row are looked at that no row is left without its best ones; nothing n x m is built.
    """
    n, m = P.shape
    kept = P.top_k(min(m, max(1, -(-count // n), min(8, m))))
    i, j, w = kept.i, kept.j, kept.w
    weight, order = w.sort()
    order = order[weight > 0][-count:]
    return i[order], j[order], w[order]


def _dot(count: int) -> float:
    """A dot's area in square points, smaller when there are many."""
    return max(4.0, min(60.0, 6000.0 / count))

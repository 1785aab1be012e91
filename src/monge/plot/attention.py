"""Attention as pictures: who reads whom, and how much each key is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from monge._checks import check_count, check_number
from monge.coupling import Coupling
from monge.errors import InputError, ShapeError

from ._canvas import INK, PAPER, SOURCE, TARGET, check_one, figure, matrix, strip
from .plan import averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["attention_maps"]


def attention_maps(
    maps: Coupling | Mapping[str, Coupling], *, columns: int = 4, resolution: int = 128, limit: float = 16.0
) -> Figure:
    """Draw attention couplings side by side, all on one scale: how many times its equal share a key gets of a query.

    White is the equal share, 1/m of what a query has to give; red is more, blue is less, in powers of two. The strip
    above a map is what each key receives in all, again in equal shares, with a line at one: a doubly stochastic layer
    fills it evenly, an attention sink is a spike. Absent queries and keys are grey. Long sequences are averaged into
    cells, block by block.

    Args:
        maps: a coupling with at most one batch dimension, such as the heads of a layer, or single couplings by name.
        columns: pictures in a row.
        resolution: the most cells along a side.
        limit: where the colours saturate, in equal shares.

    Returns:
        The figure.

    Raises:
        ShapeError: if a coupling has more batch dimensions.

    Example:
        >>> import torch, monge
        >>> from monge.plot import attention_maps
        >>> attention = monge.nn.Attention(32, 4)
        >>> picture = attention_maps(attention.couple(torch.randn(20, 32)))
        >>> [axes.get_title() for axes in picture.axes if axes.get_title()]
        ['head 0', 'head 1', 'head 2', 'head 3']
    """
    check_count("columns", columns)
    check_count("resolution", resolution)
    check_number("limit", limit, low=1.0, strict=True)
    named = _named(maps)
    wide = min(columns, len(named))
    high = math.ceil(len(named) / wide)
    drawn = figure(2.5 * wide + 0.7, 2.9 * high + 0.2)
    panels = [drawn.add_subplot(high, wide, index + 1) for index in range(len(named))]
    for panel, (title, P) in zip(panels, named.items(), strict=True):
        _map(panel, title, averaged(P, None, None, resolution), P, limit)
    steps = int(math.log2(limit))
    bar = drawn.colorbar(panels[0].images[0], ax=panels, shrink=0.7, pad=0.02, ticks=range(-steps, steps + 1, 2))
    bar.ax.set_yticklabels([_share(k) for k in range(-steps, steps + 1, 2)], fontsize=8, color=INK)
    bar.outline.set_visible(False)
    bar.set_label("times the equal share", color=INK, fontsize=8)
    drawn.supxlabel("keys", color=INK, fontsize=9)
    drawn.supylabel("queries", color=INK, fontsize=9)
    return drawn


def _named(maps: Coupling | Mapping[str, Coupling]) -> dict[str, Coupling]:
    if isinstance(maps, Mapping):
        named = dict(maps)
    elif not maps.batch_shape:
        named = {"": maps}
    elif len(maps.batch_shape) == 1:
        named = {f"head {head}": maps[head] for head in range(maps.batch_shape[0])}
    else:
        raise ShapeError(f"maps has batch shape {tuple(maps.batch_shape)}, but one batch dimension is drawn: maps[0].")
    if not named:
        raise InputError("maps is empty: give at least one coupling.")
    for name, P in named.items():
        check_one(P, f"maps[{name!r}]", "choose a head")
    return named


def _map(panel: Axes, title: str, cells: Tensor, P: Coupling, limit: float) -> None:
    rows, received = (weights.detach().to("cpu", torch.float64) for weights in P.marginals())
    present = (received > 0).sum().clamp_min(1)
    gain = cells.cpu() * (rows > 0).sum() * present / rows.sum().clamp_min(1e-300)
    shown = gain.clamp(1 / limit, limit).log2()
    shown = shown.masked_fill((gain.sum(1, keepdim=True) == 0) | (gain.sum(0) == 0), math.nan)
    top = math.log2(limit)
    matrix(panel, shown, P.shape, ["#14213d", SOURCE, "#a9d0e6", PAPER, "#f6bfae", TARGET, "#6a1f0b"], -top, top)
    panel.set_facecolor("#d9d9e0")
    share = torch.where(received > 0, received * present / received.sum().clamp_min(1e-300), math.nan)
    strip(panel, "top", share, TARGET, least=2.0).axhline(1.0, color=INK, lw=0.6)
    panel.set_title(title, color=INK, fontsize=9, y=1.18)


def _share(power: int) -> str:
    return str(2**power) if power >= 0 else f"1/{2**-power}"

"""Attention as pictures: who reads whom, more or less than an equal share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..coupling import Coupling
from ..errors import InputError, ShapeError
from ._canvas import array, figure, quiet
from .plan import averaged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["maps"]

# Factors beyond which colours saturate: a hundred times an equal share, or a hundredth of it.
_DECADES = 2.0


def maps(couplings: Mapping[str, Sequence[Coupling]], *, resolution: int = 128) -> Figure:
    """Draw couplings in rows by name: red where a pair has more mass than independence would give it, blue where less.

    Args:
        couplings: for each name, plans that are no batches; equally many for all.
        resolution: the most cells along a side; larger plans are averaged block by block.

    Returns:
        The figure.

    Raises:
        InputError: there is nothing to draw, or the rows are of different lengths.
        ShapeError: a coupling is a batch.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling, ProductCoupling
        >>> from monge.plot import maps
        >>> order = torch.randperm(9)
        >>> even = ProductCoupling(torch.ones(9) / 9, torch.ones(9) / 9)
        >>> picture = maps({"even": [even], "sharp": [PermutationCoupling(order, torch.ones(9) / 9)]})
        >>> [panel.get_title() for panel in picture.axes]
        ['even', 'sharp']
    """
    counts = {len(row) for row in couplings.values()}
    if len(counts) != 1 or counts == {0}:
        raise InputError(f"couplings must hold equally many plans a name, at least one, but hold {sorted(counts)}.")
    wide, high = counts.pop(), len(couplings)
    made = figure(2.1 * wide, 2.3 * high)
    panels = made.subplots(high, wide, squeeze=False)
    for row, (name, plans) in zip(panels, couplings.items(), strict=True):
        for index, (panel, P) in enumerate(zip(row, plans, strict=True)):
            if P.batch_shape:
                raise ShapeError(f"couplings must be no batches, but one of {name} has shape {tuple(P.batch_shape)}.")
            cells = averaged(P, None, None, resolution)
            gain = (cells / cells.mean().clamp_min(1e-300)).clamp_min(10.0 ** (-2 * _DECADES)).log10()
            panel.imshow(
                array(gain), cmap="RdBu_r", vmin=-_DECADES, vmax=_DECADES, aspect="auto", interpolation="nearest"
            )
            quiet(panel, name if index == 0 else None, frame=True)
    return made

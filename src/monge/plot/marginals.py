"""The marginals that a plan has, beside those that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from monge.coupling import Coupling
from monge.errors import ShapeError

from ._canvas import INK, SOURCE, TARGET, array, check_one, figure, open_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["marginals"]


def marginals(P: Coupling, a: Float[Tensor, " n"] | None = None, b: Float[Tensor, " m"] | None = None) -> Figure:
    """Draw the row and column sums of a plan as filled curves, and wanted weights as lines over them.

    Args:
        P: One plan, not a batch.
        a: Weights that were asked of the rows.
        b: Weights that were asked of the columns.

    Returns:
        The figure.

    Raises:
        ShapeError: If ``P`` is a batch, or weights do not fit.

    Example:
        >>> import torch
        >>> from monge.coupling import ProductCoupling
        >>> from monge.plot import marginals
        >>> picture = marginals(ProductCoupling(torch.ones(3), torch.full((4,), 0.75)), a=torch.ones(3))
        >>> [panel.get_title() for panel in picture.axes]
        ['sources', 'targets']
    """
    check_one(P)
    picture = figure(8.0, 2.6)
    with torch.no_grad():
        has = P.marginals()
    sides = zip(("sources", "targets"), ("a", "b"), has, (a, b), (SOURCE, TARGET), strict=True)
    for panel, (title, name, mass, wanted, colour) in zip(picture.subplots(1, 2), sides, strict=True):
        place = torch.arange(len(mass) + 1)
        panel.stairs(array(mass), place, fill=True, color=colour, alpha=0.6, label="of the plan")
        if wanted is not None:
            if wanted.shape != mass.shape:
                raise ShapeError(f"{name} must have shape {tuple(mass.shape)}, but has {tuple(wanted.shape)}.")
            panel.stairs(array(wanted), place, color=INK, lw=1, baseline=None, label="asked for")
            panel.legend(frameon=False, fontsize=8)
        open_frame(panel, title)
        panel.set_ylim(bottom=0)
    return picture

"""Plans that follow an order."""

from __future__ import annotations

from monge._value import value
from monge.errors import ShapeError

from .sparse import SparseCoupling

__all__ = ["MonotoneCoupling"]


@value
class MonotoneCoupling(SparseCoupling):
    """A plan that follows an order of the sources and one of the targets, with at most n + m entries.

    From one entry to the next, the plan goes one step further in one of the two orders. Optimal plans on a line, on a
    circle, on an edge of a tree and on a slice are of this kind. The indices refer to the points as they were given,
    so that i and j themselves contain the orders.

    Args:
        i: Source points, along the first order.
        j: Target points, along the second order.
        w: Masses; entries of mass zero are allowed.
        n: How many source points there are.
        m: How many target points there are.

    Raises:
        InputError: If an index is out of range or a mass is negative.
        ShapeError, DtypeError, DeviceError: If the lists do not fit together or are longer than n + m.

    Example:
        >>> import torch
        >>> from monge.coupling import MonotoneCoupling
        >>> i, j, w = torch.tensor([1, 0, 0]), torch.tensor([0, 0, 1]), torch.tensor([0.5, 0.25, 0.25])
        >>> MonotoneCoupling(i, j, w, 2, 2).barycentric(torch.tensor([0.0, 1.0]))
        tensor([0.5000, 0.0000])
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.w.shape[-1] > self.n + self.m:
            raise ShapeError(
                f"A monotone plan has at most n + m = {self.n + self.m} entries, but {self.w.shape[-1]} are given: "
                "use SparseCoupling."
            )

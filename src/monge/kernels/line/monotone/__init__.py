"""The monotone (north-west corner) plan of weights on a line."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from monge._checks import check_batches, check_floating, check_same
from monge._transforms import transformable
from monge.errors import ShapeError

from ..._extension import reads
from .._rows import few_rows
from . import native, reference

__all__ = ["monotone"]


@transformable
def monotone(
    a: Float[Tensor, "*#b n"], b: Float[Tensor, "*#b m"]
) -> tuple[Int[Tensor, "*b k"], Int[Tensor, "*b k"], Float[Tensor, "*b k"]]:
    r"""Cuts the mass of two ordered rows of weights into pieces that move together.

    With running sums $A_i = a_1 + \dots + a_i$ and $B_j$ likewise, the levels $A_1, \dots, A_{n-1}, B_1, \dots,
    B_{m-1}$ in increasing order, after 0 and before the common mass, bound $n + m - 1$ pieces; the piece between two
    levels goes from the atom that ends at or above it in the first row to the one in the second. Where the atoms are
    sorted by position this is the optimal plan for every convex cost of the displacement. Time and memory $O(n + m)$;
    running sums are float64 in every dtype.

    A piece may have no mass, its indices are in range all the same. Rows whose sums differ by rounding end at the mean
    of the two. The weights `w` are piecewise linear in the running sums, and autograd follows that: a level is a sum
    of its own row, the last one the mean of both sums. Where a level of `a` meets one of `b` the derivative is the one
    with `a` first.

    Args:
        a: Weights of the first row, not negative, in the order of positions. Leading dimensions broadcast.
        b: Weights of the second row, of the same sum.

    Returns:
        Source indices, target indices and masses of the pieces, k = n + m - 1 of them, in order.

    Raises:
        ShapeError: A row is empty, or batch dimensions do not broadcast.
        DtypeError, DeviceError: The two rows differ in dtype or device.

    Example:
        >>> import torch
        >>> monotone(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
        (tensor([0, 0, 1]), tensor([0, 1, 1]), tensor([0.2500, 0.2500, 0.5000]))
    """
    check_floating("a", a)
    check_same(a=a, b=b)
    if a.shape[-1] == 0 or b.shape[-1] == 0:
        raise ShapeError(
            f"a and b must hold at least one weight a row, but have {tuple(a.shape)} and {tuple(b.shape)}."
        )
    batch = check_batches(a=a.shape[:-1], b=b.shape[:-1])
    found = (native if reads(a, b) else reference).monotone(few_rows(a, batch), few_rows(b, batch))
    i, j, w = (part.reshape(*batch, part.shape[-1]) for part in found)
    return i, j, w

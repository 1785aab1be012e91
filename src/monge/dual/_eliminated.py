"""What systems on the columns have in common, from which the rows are eliminated."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ._operators import Operator


@dataclass(frozen=True)
class Eliminated:
    """A plan, and which part of its rows a change of the columns moves along.

    Args:
        plan: P.
        r, c: Its marginals.
        inverse: The diagonal of R^-1, zero at rows that do not move.
        partial: Whether there is a multiplier of the mass.
        gauge: Whether constants are in the kernel.
    """

    plan: Operator
    r: Float[Tensor, "*b n"]
    c: Float[Tensor, "*b m"]
    inverse: Float[Tensor, "*b n"]
    partial: bool
    gauge: bool

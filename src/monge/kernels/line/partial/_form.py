"""What the solvers of partial transport hand back."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Pieces(NamedTuple):
    """Plans of rows and the potentials that prove them; entries of no mass are padding.

    With the level as penalty, f_i + g_j <= cost with equality on the plan, and f, g <= level with equality at atoms
    that keep mass back.
    """

    i: Tensor  # (rows, k)
    j: Tensor
    w: Tensor  # float64
    level: Tensor  # (rows, 1), float64
    f: Tensor  # (rows, n), float64, or empty
    g: Tensor


class Profile(NamedTuple):
    """Unit atoms in the order in which they join, one row a problem; past the end inf and -1."""

    marginal: Tensor  # (rows, k), float64: by what each pair of atoms raises the cost
    source: Tensor
    target: Tensor
    x: Tensor  # (rows, n), float64: positions on the line; a circle opens where no pair of the profile passes
    y: Tensor

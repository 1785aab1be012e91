"""What an exact plan and its potentials prove about each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ... import _extension
from . import native, reference

__all__ = ["Proof", "proof"]


class Proof(NamedTuple):
    """Centred potentials, and numbers that are measured on all pairs."""

    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]
    priced: Float[Tensor, "*b"]
    gap: Float[Tensor, "*b"]
    violation: Float[Tensor, "*b"]
    doubt: Float[Tensor, "*b"]
    scale: Float[Tensor, "*b"]


@torch.no_grad()
def proof(
    cost: Float[Tensor, "*#b n m"],
    i: Int[Tensor, "*#b k"],
    j: Int[Tensor, "*#b k"],
    w: Float[Tensor, "*#b k"],
    a: Float[Tensor, "*#b n"],
    b: Float[Tensor, "*#b m"],
    f: Float[Tensor, "*b n"],
    g: Float[Tensor, "*b m"],
) -> Proof:
    r"""Primal and dual of a balanced problem at a plan with few entries and at potentials, in one pass over all pairs.

    Potentials are shifted so that $\langle a, f\rangle = \langle b, g\rangle$. With the largest feasible potential
    $\hat f_i = \min(f_i, \min_j C_{ij} - g_j)$, the dual value is $\langle a, \hat f\rangle + \langle b, g\rangle$.

    Args:
        cost: The matrices, or one for all problems.
        i: Rows of the entries.
        j: Columns of the entries.
        w: Their masses; zeros are padding.
        a: Weights of the rows. A point without weight is absent.
        b: Weights of the columns.
        f: Potentials of the rows, which tell the batch.
        g: Potentials of the columns.

    Returns:
        The potentials, the cost with missing mass at its price, its distance from the dual value, the share of mass
        that is missing, the gap for the marginals that the plan has, and the size of the numbers that the gap is a
        difference of.

    Example:
        >>> import torch
        >>> from monge.kernels import proof
        >>> cost, half = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double(), torch.full((2,), 0.5).double()
        >>> first = torch.tensor([0, 1])
        >>> float(proof(cost, first, first, half, half, half, 0 * half, 0 * half).gap)
        0.0
    """
    numbers = (cost, w, a, b, f, g)
    fast = cost.numel() > 0 and _extension.reads(*numbers) and all(t.dtype == torch.float64 for t in numbers)
    return Proof(*(native if fast else reference).proof(cost, i, j, w, a, b, f, g))

"""The assignment problem: the cheapest permutation of a square cost matrix, and potentials that prove it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import check_floating
from monge._transforms import transformable
from monge.errors import InfeasibleError, InputError, ShapeError

from ... import _extension
from . import native, reference

__all__ = ["Matching", "assignment"]


class Matching(NamedTuple):
    """The cheapest permutation, and potentials."""

    perm: Int[Tensor, "*b n"]
    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b n"]


@transformable
@torch.no_grad()
def assignment(cost: Float[Tensor, "*b n n"]) -> Matching:
    r"""Solves $\min_\sigma \sum_i C_{i \sigma(i)}$ over permutations, exactly, for every matrix of a batch.

    The potentials satisfy $f_i + g_j \le C_{ij}$ with equality on the permutation, up to the rounding of float64
    (1e-14 of the numbers involved), hence $\sum_i C_{i \sigma(i)} = \sum_i f_i + \sum_j g_j$. A short auction matches
    most rows, shortest augmenting paths the others; where these grow long, as they do for points of few dimensions,
    the network simplex finishes from the potentials reached. Problems run in parallel.

    The result is locally constant in the cost, hence not differentiable; the derivative of the value is the
    permutation matrix.

    Args:
        cost: Square matrices; ``inf`` forbids a pair.

    Returns:
        The column of every row, and the potentials, in float64.

    Raises:
        InfeasibleError: Every permutation of one of the matrices uses a forbidden pair.

    Example:
        >>> import torch
        >>> assignment(torch.tensor([[4.0, 1.0], [2.0, 3.0]])).perm
        tensor([1, 0])

    Jonker, Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems" (1987).
    """
    if cost.ndim < 2 or cost.shape[-1] != cost.shape[-2]:
        raise ShapeError(
            f"cost must hold square matrices (..., n, n), but has shape {tuple(cost.shape)}: for other shapes or "
            "weights use the simplex."
        )
    check_floating("cost", cost)
    # The least number of all is NaN if one of them is.
    if cost.numel() and not float(cost.min()) > -math.inf:
        raise InputError("cost must not hold NaN or -inf; use inf to forbid a pair.")
    n = cost.shape[-1]
    plain = cost.detach().reshape(cost.shape[:-2].numel(), n, n).cpu()
    loop = native if _extension.AVAILABLE else reference
    infeasible, *parts = loop.assignment(plain.to(working_dtype(plain)))
    if infeasible >= 0:
        which = f" of problem {infeasible}" if cost.ndim > 2 else ""
        raise InfeasibleError(
            f"every permutation{which} uses a pair of infinite cost: allow more pairs, or leave mass unmatched with a "
            "partial problem."
        )
    return Matching(*(part.reshape(cost.shape[:-1]).to(cost.device) for part in parts))

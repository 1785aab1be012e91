"""The three decisions of an attention layer, carrier, link and anchor, in one function."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge._checks import check_choice
from monge._transforms import transformable
from monge.kernels import row_shares

from ._fixed_point import converge
from ._masks import check_mask

__all__ = ["anchored_matrix"]


@transformable
def anchored_matrix(
    scores: Float[Tensor, "*b n m"],
    anchor: str = "row",
    *,
    allowed: Bool[Tensor, "*#b n m"] | None = None,
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
) -> Float[Tensor, "*b n m"]:
    r"""An attention matrix from scores, by three decisions that a layer usually does not name.

    The *carrier* ``allowed`` says which pairs exist. The *link* says how a score becomes a weight: it is the
    exponential, E = exp(S) on the carrier. The *anchor* says what the weights must sum to, and so which scores have no
    effect:

    ==========  ==============================================================  =================================
    anchor      matrix                                                          scores without effect
    ==========  ==============================================================  =================================
    ``none``    $E$                                                             none
    ``row``     $diag(1/E1) E$, softmax                                         $α 1^T$
    ``column``  $E diag(1/E^T 1)$                                               $1 β^T$
    ``plan``    $diag(1/a) P$, P the entropic plan of a and b                   $α 1^T + 1 β^T$
    ==========  ==============================================================  =================================

    For the last, only the doubly centred scores matter: see `monge.nn.diagnostics.double_center`.

    Args:
        scores: S.
        anchor: One of the table.
        allowed: True where a pair exists; all if None.
        a: Row marginal of the plan, uniform if None.
        b: Column marginal of the plan, uniform if None.
        tol: L1 error of the plan's column marginal.
        max_iter: The largest number of rounds.

    Returns:
        The matrix; a row (or column) without a pair is zero.

    Raises:
        InputError: Unknown ``anchor``.
        DtypeError: ``allowed`` is not boolean.

    Example:
        >>> anchored_matrix(torch.zeros(2, 4), "plan")
        tensor([[0.2500, 0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500, 0.2500]])

    Source: Rosario Freytes, Geometric attention: A regime-explicit operator semantics for transformer attention, arXiv
    2601.11618.
    """
    check_choice("anchor", anchor, ("none", "row", "column", "plan"))
    if allowed is not None:
        check_mask("allowed", allowed, "a pair exists")
        scores = scores.masked_fill(~allowed, -math.inf)
    if anchor == "none":
        return scores.exp()
    if anchor in ("row", "column"):
        dim = -1 if anchor == "row" else -2
        empty = (scores == -math.inf).all(dim, keepdim=True)
        return torch.softmax(scores.masked_fill(empty, 0.0), dim).masked_fill(empty, 0.0)
    n, m = scores.shape[-2:]
    log_a = scores.new_full((n,), -math.log(n)) if a is None else a.log()
    log_b = scores.new_full((m,), -math.log(m)) if b is None else b.log()
    log_a, log_b = log_a.expand(*scores.shape[:-1]), log_b.expand(*scores.shape[:-2], m)
    return row_shares(scores, converge(scores, log_a, log_b, tol, max_iter), log_a)

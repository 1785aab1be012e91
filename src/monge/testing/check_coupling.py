"""The test suite of plans: a coupling must answer every question as its matrix does."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge.coupling import Coupling
from monge.geometry import CostMatrix

from ._question import Tolerance, check_copies, check_question, chosen, compare, fresh, gradients, tolerance_of
from ._questions import forbidden, questions
from .reference import reference_matrix

__all__ = ["check_coupling"]


def check_coupling(
    P: Coupling,
    dense: Float[Tensor, "*b n m"] | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Ask a coupling every question, and compare answers and gradients with those of its matrix.

    Run it on every representation you write: on batches, on plans with empty rows, on a single row, in both
    precisions.

    Args:
        P: The coupling.
        dense: The matrix that it should be. By default it follows from the definition of its class; for a class of your
            own it is ``P.dense()``, which cannot find an error that all of its methods share.
        rtol: Relative tolerance; by default 1e-8 in float64 and 1e-3 in float32.
        atol: Absolute tolerance; by default 1e-10 in float64 and 1e-5 in float32.

    Raises:
        AssertionError: If an answer is wrong; the message names the question.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling
        >>> from monge.testing import check_coupling
        >>> check_coupling(PermutationCoupling(torch.tensor([1, 0])), dense=torch.tensor([[0.0, 0.5], [0.5, 0.0]]))
    """
    tolerance = tolerance_of(P.dtype, rtol, atol)
    P = P.detach()
    generator = torch.Generator().manual_seed(0)
    matrix = reference_matrix(P) if dense is None else dense
    compare("P.dense()", P.dense(), matrix, tolerance)
    assert (matrix >= 0).all(), "A plan must be non-negative."
    for question in questions(P, generator):
        check_question(question, P, reference_matrix, dense, tolerance)
    _check_forbidden(P, matrix, tolerance)
    _check_lists(P, matrix, tolerance)
    _check_draws(P, matrix, generator)
    check_copies("P", P, matrix, tolerance)
    for index, some, wanted in chosen(P, matrix):
        compare(f"P[{index}]", some.dense(), wanted, tolerance)
        ones = torch.ones(matrix.shape[-1], 1, dtype=matrix.dtype)
        compare(f"P[{index}] @ v", some @ ones, wanted @ ones, tolerance)


def _check_forbidden(P: Coupling, matrix: Tensor, tolerance: Tolerance) -> None:
    idle, used = forbidden(P, matrix)
    made, leaves = fresh(P)
    cost = made.transport_cost(CostMatrix(idle))
    compare("P.transport_cost where idle pairs are forbidden", cost, matrix.sum((-1, -2)), tolerance)
    for gradient in gradients(cost, leaves):
        assert gradient.isfinite().all(), "The gradient of P.transport_cost is not finite where a pair is forbidden."
    moved = matrix.sum((-1, -2)) > 0
    found = P.transport_cost(CostMatrix(used)) == math.inf
    assert (found == moved).all(), "P.transport_cost must be infinite if mass moves over a forbidden pair."


def _check_lists(P: Coupling, matrix: Tensor, tolerance: Tolerance) -> None:
    """Lists of entries: the right ones, at the right places, and as few as promised."""
    *batch, n, m = P.shape
    flat = matrix.reshape(*batch, n * m)
    total = flat.sum(-1, keepdim=True)
    for share in (0.5, 0.9):
        kept = P.sparse(mass=share)
        compare(f"P.sparse(mass={share}), entry by entry", kept.w, _pick(matrix, kept) * (kept.w > 0), tolerance)
        held = flat.sort(-1, descending=True).values.double().cumsum(-1)
        wanted = share * total.double()
        fewest = (held < wanted * (1 - 1e-6)).sum(-1) + 1, (held < wanted * (1 + 1e-6)).sum(-1) + 1
        count = (kept.w > 0).sum(-1)
        right = (count >= fewest[0]) & (count <= fewest[1]) | (total[..., 0] == 0)
        assert right.all(), f"P.sparse(mass={share}) keeps {count.tolist()} entries where {fewest[0].tolist()} do."
    # In the widest gap between two entries, so that rounding cannot decide which are above.
    levels = torch.cat([flat.new_zeros(1), flat.reshape(-1).sort().values])
    widest = int(levels.diff().argmax())
    threshold = float(levels[widest : widest + 2].double().mean())
    kept = P.sparse(threshold=threshold)
    compare("P.sparse(threshold=...)", kept.dense(), matrix * (matrix > threshold), tolerance)
    best = P.top_k(1)
    compare("P.top_k(1), entry by entry", best.w, _pick(matrix, best), tolerance)
    if n == m:
        value = matrix.gather(-1, P.assignment()[..., None]).sum((-1, -2))
        assert (P.assignment().sort(-1).values == torch.arange(n)).all(), "P.assignment() must be a bijection."
        others = (torch.randperm(n) for _ in range(8))
        for other in others:
            beaten = matrix.gather(-1, other.expand(*batch, n)[..., None]).sum((-1, -2))
            assert (value >= beaten - tolerance["atol"]).all(), "P.assignment() is worse than some bijection."


def _pick(matrix: Tensor, kept: Any) -> Tensor:
    places = (kept.i * kept.m + kept.j).expand(kept.w.shape)
    return matrix.reshape(*matrix.shape[:-2], -1).gather(-1, places)


def _check_draws(P: Coupling, matrix: Tensor, generator: torch.Generator) -> None:
    *batch, n, m = P.shape
    flat = matrix.reshape(*batch, n * m).double()
    rows = matrix.sum(-1) > 0
    if not batch or bool(rows.all()):
        i, j = P.pair(generator=generator)
        expected = rows.nonzero()[:, 0] if not batch else torch.arange(n).expand(*batch, n)
        assert torch.equal(i, expected.to(i)), "P.pair() must use every row with mass exactly once."
        assert (flat.gather(-1, i * m + j) > 0).all(), "P.pair() must give partners with mass."
    if bool((flat.sum(-1) > 0).all()):
        count = 400
        i, j = P.sample(count, generator=generator)
        assert i.shape == j.shape == (*batch, count), "P.sample(k) must have shape (*b, k)."
        drawn = i * m + j
        assert (flat.gather(-1, drawn) > 0).all(), "P.sample(k) must give pairs with mass."
        seen = torch.zeros_like(flat).scatter_add(-1, drawn, torch.ones_like(drawn, dtype=flat.dtype)) / count
        share = flat / flat.sum(-1, keepdim=True)
        spread = (share * (1 - share) / count).sqrt()
        far = ((seen - share).abs() > 6 * spread + 4 / count).any()
        assert not far, "P.sample(k) must draw pairs in proportion to their mass."

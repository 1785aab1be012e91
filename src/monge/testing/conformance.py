"""The conformance suite: a coupling must answer every question as its matrix does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from monge._value import Value
from monge.coupling import Coupling
from monge.errors import DenseLimitError
from monge.geometry import CostMatrix

from ._questions import Answer, Question, forbidden, questions
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
        dense: The matrix that it should be. By default the definition of its class, and for a class of your own
            ``P.dense()``, which cannot find an error that all of its methods share.
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
    double = P.dtype == torch.float64
    tolerance = {
        "rtol": (1e-8 if double else 1e-3) if rtol is None else rtol,
        "atol": (1e-10 if double else 1e-5) if atol is None else atol,
    }
    P = P.detach()
    generator = torch.Generator().manual_seed(0)
    matrix = reference_matrix(P) if dense is None else dense
    _compare("P.dense()", P.dense(), matrix, tolerance)
    assert (matrix >= 0).all(), "A plan must be non-negative."
    for question in questions(P, generator):
        _check_question(question, P, matrix if dense is not None else None, tolerance)
    _check_forbidden(P, matrix, tolerance)
    _check_lists(P, matrix, tolerance)
    _check_draws(P, matrix, generator)
    _check_value(P, matrix, tolerance)
    _check_batch(P, matrix, tolerance)


def _compare(what: str, found: Answer, expected: Answer, tolerance: dict[str, float]) -> None:
    found = (found,) if isinstance(found, Tensor) else tuple(found)
    expected = (expected,) if isinstance(expected, Tensor) else tuple(expected)
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(
            got.detach(),
            wanted.detach(),
            rtol=tolerance["rtol"],
            atol=tolerance["atol"],
            msg=lambda text: f"{what} differs from its matrix.\n{text}",
        )


def _leaves(P: Coupling) -> tuple[Coupling, list[Tensor]]:
    """The coupling anew, with every number it holds a leaf of autograd."""
    fresh = P._map(lambda t: t.detach().clone().requires_grad_() if t.is_floating_point() else t)
    return fresh, [t for t in fresh._tensors() if t.is_floating_point()]


def _gradients(answer: Answer, leaves: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    parts = [part for part in ((answer,) if isinstance(answer, Tensor) else answer) if part.requires_grad]
    weights = [torch.rand(p.shape, generator=generator, dtype=torch.float64).to(p) for p in parts]
    if not parts:
        return [torch.zeros_like(leaf) for leaf in leaves]
    total = torch.stack([(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]).sum()
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(found, leaves, strict=True)]


def _check_question(question: Question, P: Coupling, dense: Tensor | None, tolerance: dict[str, float]) -> None:
    def answered(ask: Callable[..., Answer], read: Callable[[Coupling], Any]) -> tuple[Answer, list[Tensor]]:
        fresh, leaves = _leaves(P)
        inputs = [part.detach().clone().requires_grad_() for part in question.inputs]
        answer = ask(read(fresh), *inputs)
        return answer, _gradients(answer, [*leaves, *inputs], torch.Generator().manual_seed(1))

    found, gradients = answered(question.ask, lambda plan: plan)
    wanted, expected = answered(question.answer, reference_matrix)
    if dense is not None:
        wanted = question.answer(dense, *question.inputs)
    _compare(question.name, found, wanted, tolerance)
    if not question.smooth:
        return
    for k, (gradient, truth) in enumerate(zip(gradients, expected, strict=True)):
        size = max(1.0, float(truth.abs().max())) if truth.numel() else 1.0
        allowed = {"rtol": 10 * tolerance["rtol"], "atol": 10 * tolerance["atol"] * size}
        _compare(f"The gradient of {question.name} by tensor {k} of plan and inputs", gradient, truth, allowed)


def _check_forbidden(P: Coupling, matrix: Tensor, tolerance: dict[str, float]) -> None:
    idle, used = forbidden(P, matrix)
    fresh, leaves = _leaves(P)
    cost = fresh.transport_cost(CostMatrix(idle))
    _compare("P.transport_cost where idle pairs are forbidden", cost, matrix.sum((-1, -2)), tolerance)
    for gradient in _gradients(cost, leaves, torch.Generator().manual_seed(1)):
        assert gradient.isfinite().all(), "The gradient of P.transport_cost is not finite where a pair is forbidden."
    moved = matrix.sum((-1, -2)) > 0
    found = P.transport_cost(CostMatrix(used)) == math.inf
    assert (found == moved).all(), "P.transport_cost must be infinite if mass moves over a forbidden pair."


def _check_lists(P: Coupling, matrix: Tensor, tolerance: dict[str, float]) -> None:
    """Lists of entries: the right ones, at the right places, and as few as promised."""
    *batch, n, m = P.shape
    flat = matrix.reshape(*batch, n * m)
    total = flat.sum(-1, keepdim=True)
    for share in (0.5, 0.9):
        kept = P.sparse(mass=share)
        _compare(f"P.sparse(mass={share}), entry by entry", kept.w, _pick(matrix, kept) * (kept.w > 0), tolerance)
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
    _compare("P.sparse(threshold=...)", kept.dense(), matrix * (matrix > threshold), tolerance)
    best = P.top_k(1)
    _compare("P.top_k(1), entry by entry", best.w, _pick(matrix, best), tolerance)
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


def _check_value(P: Coupling, matrix: Tensor, tolerance: dict[str, float]) -> None:
    """What makes it a value: shape, repr, pytree, copies to other dtypes, limits."""
    assert P.shape == matrix.shape, f"P.shape is {tuple(P.shape)}, but its matrix has {tuple(matrix.shape)}."
    assert P.T.shape == matrix.mT.shape, "P.T.shape must be the shape of the transpose."
    assert P.batch_shape == matrix.shape[:-2], "P.batch_shape must be the leading dimensions of the matrix."
    assert len(repr(P)) < 200, "repr(P) must be short."
    leaves, structure = pytree.tree_flatten(P)
    assert all(isinstance(leaf, Tensor) for leaf in leaves), "The leaves of a coupling must be tensors."
    _compare(
        "The coupling after a pytree round trip", pytree.tree_unflatten(leaves, structure).dense(), matrix, tolerance
    )
    assert isinstance(P, Value)
    assert not any(t.requires_grad for t in _leaves(P)[0].detach()._tensors()), "P.detach() must leave the graph."
    other = P.to(torch.float32)
    assert other.dtype == other.dense().dtype == torch.float32, "P.to(torch.float32) must be in float32."
    _compare("P.to(torch.float32)", other.dense(), matrix.float(), {"rtol": 1e-3, "atol": 1e-5})
    try:
        P.dense(max_bytes=matrix.numel() * matrix.element_size() - 1)
    except DenseLimitError:
        return
    raise AssertionError("P.dense(max_bytes) must raise DenseLimitError above the limit.")


def _check_batch(P: Coupling, matrix: Tensor, tolerance: dict[str, float]) -> None:
    batch = matrix.shape[:-2]
    if not batch:
        return
    indices: list[Any] = [0, -1, slice(0, 1), (..., 0), (None, 0), [0, 0], torch.arange(batch[0]) == 0]
    if len(batch) > 1:
        indices += [(0, 0), (slice(None), torch.tensor([0, -1]))]
    for index in indices:
        chosen = P[index]
        wanted = matrix[(*index, slice(None), slice(None))] if isinstance(index, tuple) else matrix[index]
        _compare(f"P[{index!r}]", chosen.dense(), wanted, tolerance)
        ones = torch.ones(matrix.shape[-1], 1, dtype=matrix.dtype)
        _compare(f"P[{index!r}] @ v", chosen @ ones, wanted @ ones, tolerance)

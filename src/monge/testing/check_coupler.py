"""The test suite of couplers: everything that attention relies on, whatever coupler makes the plan."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from monge.coupling import Coupling
from monge.errors import CapabilityError, ShapeError
from monge.nn.couplers import Coupler, build

from ._question import along, compare, difference, ways_of, weighted

__all__ = ["check_coupler"]

EXACT = {"rtol": 1e-8, "atol": 1e-9}


class _Tokens(NamedTuple):
    """Queries, keys and values in float64, and the padding of the last tokens of every sequence."""

    q: Tensor
    k: Tensor
    v: Tensor
    query_padding: Tensor
    key_padding: Tensor


def check_coupler(coupler: str | Coupler, *, heads: int = 3, width: int = 4, tokens: int = 7) -> None:
    """Test whether a coupler keeps its promise and everything that attention relies on.

    These are checked: shapes, dtypes and masses; rows and columns, as the promise says; that ``attend`` is the
    barycentric projection of the plan; that absent tokens have no mass and no influence, in any bit; that a batch gives
    the same as its sequences alone; the gradients of inputs and parameters, by differences; that a causal coupler reads
    nothing ahead; and that a coupler which cannot be causal, or cannot forbid pairs, refuses with a message.

    Args:
        coupler: A name, as in `monge.nn.Attention`, or a module; a module is copied and not changed.
        heads: How many heads the module is made for.
        width: How wide their queries and keys are.
        tokens: How many tokens a sequence has, at least four.

    Raises:
        AssertionError: If a promise is broken; the message names it.

    Example:
        >>> from monge.testing import check_coupler
        >>> check_coupler("softmax")

    For a coupler of your own, call ``check_coupler(Mine())`` once, and once more for every option that changes its
    plan.
    """
    made = _general(build(coupler, heads, width)) if isinstance(coupler, str) else copy.deepcopy(coupler)
    double = made.double().eval()
    given = _tokens(heads, width, tokens, tokens if made.promise.square else tokens + 2)
    with torch.no_grad():
        _check_plan(double, given)
        _check_padding(double, given)
        _check_reading(double, given)
        _check_sequences(double, given)
        _check_dtypes(double, given)
        _check_masks(double, given)
    _check_gradients(double, given)


def _general(made: Coupler) -> Coupler:
    """Parameters in general position: many start where they say nothing."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return made


def _tokens(heads: int, width: int, n: int, m: int) -> _Tokens:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, heads, size, wide, generator=generator, dtype=torch.float64)
        for size, wide in ((n, width), (m, width), (m, 3))
    )
    padding = [torch.stack([torch.arange(size) >= size - count for count in (0, 3)]) for size in (n, m)]
    # One tensor says that a sequence meets itself.
    return _Tokens(q, k, v, padding[0], padding[0] if n == m else padding[1])


def _check_plan(coupler: Coupler, given: _Tokens) -> None:
    q, k = given.q, given.k
    plan = coupler(q, k)
    assert isinstance(plan, Coupling), f"A coupler must answer with a Coupling, not with {type(plan).__name__}."
    wanted = (*q.shape[:-1], k.shape[-2])
    matrix = plan.dense()
    assert matrix.shape == wanted, f"The coupling must have shape {wanted}, but has {tuple(matrix.shape)}."
    assert matrix.isfinite().all(), "The coupling must be finite."
    assert (matrix >= -1e-12).all(), "The coupling must be non-negative."
    assert torch.equal(matrix, coupler(q, k).dense()), "A coupler in evaluation mode must answer the same every time."
    mass = matrix.sum((-1, -2))
    compare("The mass of the coupling", mass, torch.ones_like(mass), {"rtol": 1e-4, "atol": 0.0}, "is not one")
    bounds = coupler.promise.rows, coupler.promise.columns
    for side, mu, bound in zip(("row", "column"), plan.marginals(), bounds, strict=True):
        error = float((mu.shape[-1] * mu - 1).abs().max())
        assert bound is None or error <= bound, f"A {side} of attention is off by {error:.1e}, promised is {bound:.1e}."


def _check_reading(coupler: Coupler, given: _Tokens) -> None:
    q, k, v, *padding = given
    for masks, told in (((), ""), (tuple(padding), ", with padding")):
        found, plan = coupler.attend(q, k, v, *masks), coupler(q, k, *masks)
        compare(f"attend(q, k, v){told}", found, plan.barycentric(v), EXACT, "differs from the plan's barycentres")
        matrix = plan.dense()
        mean = (matrix / matrix.sum(-1, keepdim=True).clamp_min(1e-300)) @ v
        compare(f"attend(q, k, v){told}", found, mean, EXACT, "differs from the means under the matrix of the plan")


def _check_padding(coupler: Coupler, given: _Tokens) -> None:
    """Absent tokens have no mass, and whatever stands there changes nothing."""
    q, k, v, absent, absent_keys = given
    for side, mu, hidden in zip(
        ("query", "key"), coupler(q, k, absent, absent_keys).marginals(), given[3:], strict=True
    ):
        masses = mu.masked_select(hidden[:, None])
        assert (masses == 0).all(), f"An absent {side} must have no mass, but one has {float(masses.max()):.1e}."
    out = coupler.attend(q, k, v, absent, absent_keys)
    assert (out.masked_select(absent[:, None, :, None]) == 0).all(), "What an absent query reads must be zero."
    loud = [
        torch.where(hidden[:, None, :, None], noise, held)
        for held, hidden, noise in ((q, absent, 1e3), (k, absent_keys, torch.nan), (v, absent_keys, torch.nan))
    ]
    again = coupler.attend(loud[0], loud[1], loud[2], absent, absent_keys)
    assert torch.equal(out, again), "What stands at absent tokens must not change what the others read, by no bit."
    empty = torch.ones_like(absent_keys)
    nothing = coupler.attend(q, k, v, empty if absent is absent_keys else None, empty)
    assert (nothing == 0).all(), "Where all keys are absent, zero must be read."


def _check_sequences(coupler: Coupler, given: _Tokens) -> None:
    """A batch is its sequences, one by one."""
    q, k, v, absent, absent_keys = given
    together = coupler.attend(q, k, v, absent, absent_keys)
    for one in range(len(q)):
        # The same tensor on both sides, where it was.
        hidden = absent[one]
        padding = (hidden, hidden if absent is absent_keys else absent_keys[one])
        alone = coupler.attend(q[one], k[one], v[one], *padding)
        compare(f"attend of sequence {one} alone", alone, together[one], EXACT, "differs from that in the batch")


def _check_dtypes(coupler: Coupler, given: _Tokens) -> None:
    single = copy.deepcopy(coupler).float()
    q, k, v = (held.float() for held in given[:3])
    out = single.attend(q, k, v)
    assert out.dtype == torch.float32, f"attend must answer in the dtype of the values, but answers in {out.dtype}."
    assert single(q, k).dtype == torch.float32, "The coupling of queries in float32 must be in float32."


def _check_masks(coupler: Coupler, given: _Tokens) -> None:
    """Orders and pairs are kept, or refused."""
    q, k, v = given[:3]
    n = q.shape[-2]
    k, v = k[..., :n, :], v[..., :n, :]
    if coupler.promise.causal == "no":
        _check_refusal(CapabilityError, "causal=True", lambda: coupler.attend(q, k, v, causal=True))
    else:
        early = coupler.attend(q, k, v, causal=True)
        later = [torch.cat([held[..., :3, :], held[..., 3:, :] + 5.0], -2) for held in (q, k, v)]
        again = coupler.attend(*later, causal=True)
        compare("A causal coupler", again[..., :3, :], early[..., :3, :], EXACT, "reads what comes later")
    forbidden = torch.zeros(n, n, dtype=torch.bool)
    forbidden[:, 1] = True
    if not coupler.promise.pairs:
        _check_refusal(CapabilityError, "pairs", lambda: coupler.attend(q, k, v, pairs=forbidden))
    else:
        used = coupler(q, k, pairs=forbidden).dense()[..., 1]
        assert (used == 0).all(), "A forbidden pair must have no mass."
    if coupler.promise.square:
        _check_refusal(ShapeError, "fewer keys than queries", lambda: coupler.attend(q, k[..., 1:, :], v[..., 1:, :]))


def _check_refusal(error: type[Exception], what: str, call: Callable[[], Tensor]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"What the promise does not cover must be refused: {what} must raise {error.__name__}.")


def _check_gradients(coupler: Coupler, given: _Tokens) -> None:
    """Along a random direction of all inputs and parameters, against a difference."""
    absent, absent_keys = given[3:]
    weights = [weight for weight in coupler.parameters() if weight.requires_grad]
    inputs = [held.clone().requires_grad_() for held in given[:3]]
    moved = [*inputs, *weights]

    def read() -> Tensor:
        return weighted(coupler.attend(inputs[0], inputs[1], inputs[2], absent, absent_keys))

    derivatives, ways = torch.autograd.grad(read(), moved, allow_unused=True, materialize_grads=True), ways_of(moved)
    for held, derivative in zip(("queries", "keys", "values"), derivatives, strict=False):
        assert derivative.isfinite().all(), f"The gradient of the {held} must be finite."
    compare(
        "The gradient of attend by inputs and parameters",
        along(derivatives, ways),
        difference(read, moved, ways, 1e-6),
        {"rtol": 1e-3, "atol": 1e-4},
        "differs from differences",
    )

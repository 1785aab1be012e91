"""Half-steps by scaling in cache against their definition in the log domain."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from monge import _arrays
from monge.kernels import balanced_apply
from monge.kernels.attention.balanced import balanced_apply_reference, scaling, tiled

D = torch.float64


class Watching(TorchDispatchMode):
    """Runs every operation unchanged."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def draw(*shape, seed, scale=1.0, dtype=D):
    return (scale * torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed))).to(dtype)


def problem(n, m, *, scale=1.0, dtype=D, heads=3):
    points = [draw(heads, size, 4, seed=i, scale=scale, dtype=dtype) for i, size in enumerate((n, m, m))]
    weights = [draw(heads, size, seed=i + 3, dtype=dtype).softmax(-1) for i, size in enumerate((n, m))]
    return [t.requires_grad_() for t in (*points, *weights)]


def answers(function, arguments, n_half):
    out = function(*arguments, n_half)
    slope = draw(*out.shape, seed=9, dtype=out.dtype)
    found = torch.autograd.grad(out, arguments, slope, allow_unused=True)
    return out, *(torch.zeros_like(t) if f is None else f for f, t in zip(found, arguments, strict=True))


@pytest.fixture(params=["scaled", "logarithmic"])
def form(request, monkeypatch):
    """Both forms of the tiles: the second is taken where no range is small enough for the first."""
    if request.param == "logarithmic":
        monkeypatch.setattr(scaling, "RANGE", dict.fromkeys(scaling.RANGE, -1.0))
    return request.param


@pytest.mark.parametrize("n_half", [1, 2, 3, 4, 5, 10])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (6, 1), (9, 7)])
def test_equals_the_definition_with_its_gradients(form, n, m, n_half):
    arguments = problem(n, m)
    for ours, theirs in zip(
        answers(balanced_apply, arguments, n_half), answers(balanced_apply_reference, arguments, n_half), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_half", [1, 2, 5])
def test_absence_is_zero_weight(form, n_half):
    arguments = [t.detach().clone() for t in problem(6, 7)]
    arguments[3][0, 2:4] = arguments[4][1, :5] = 0.0
    arguments[3][2] = 0.0
    points, weights = [t.requires_grad_() for t in arguments[:3]], arguments[3:]
    ours = answers(lambda *given: balanced_apply(*given[:3], *weights, given[3]), points, n_half)
    theirs = answers(lambda *given: balanced_apply_reference(*given[:3], *weights, given[3]), points, n_half)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    assert (ours[0][0, 2:4] == 0).all()
    assert (ours[0][2] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 3.0, 30.0, 1e4])
def test_every_scale_of_scores(dtype, scale):
    # Scaling serves the small ones, the definition the large ones, head by head.
    arguments = problem(20, 30, scale=scale, dtype=dtype)
    expected = answers(balanced_apply_reference, [t.detach().double().requires_grad_() for t in arguments], 5)
    tolerance = 2e-4 if dtype == torch.float32 else 1e-9
    if scale >= 30:
        # The error of such scores is no longer small against one, in any form.
        expected = answers(balanced_apply_reference, arguments, 5)
    for got, right in zip(answers(balanced_apply, arguments, 5), expected, strict=True):
        assert got.isfinite().all()
        atol = tolerance * max(float(t.detach().abs().max()) for t in (right, expected[0]))
        torch.testing.assert_close(got.double(), right.double(), rtol=tolerance, atol=atol)


def test_heads_out_of_range_do_not_drag_others_along(monkeypatch):
    monkeypatch.setattr(_arrays, "BLOCK_BYTES", 1)
    arguments = [t.detach() for t in problem(8, 9)]
    arguments[0][1] *= 1000.0
    _, _, _, served = tiled.balanced(*arguments, 5)
    assert served.tolist() == [True, False, True]
    arguments = [t.requires_grad_() for t in arguments]
    for got, expected in zip(
        answers(balanced_apply, arguments, 5), answers(balanced_apply_reference, arguments, 5), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)


def test_tiles_change_nothing(monkeypatch):
    arguments = problem(8, 9, heads=7)
    whole = answers(balanced_apply, arguments, 5)
    monkeypatch.setattr(_arrays, "BLOCK_BYTES", 4 * 3 * 72)
    for got, expected in zip(answers(balanced_apply, arguments, 5), whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_weights_and_points_may_be_shared_by_a_batch():
    q, k, v, a, b = problem(6, 5)
    q = q[:, None].expand(3, 2, 6, 4)
    out = balanced_apply(q, k[:, None], v[:, None], a[0], b[0], 3)
    expected = balanced_apply_reference(q, k[:, None], v[:, None], a[0], b[0], 3)
    torch.testing.assert_close(out, expected)


def test_gradients_of_what_is_shared_are_summed():
    q, k, v, a, b = problem(6, 5)
    answers = []
    for function in (balanced_apply, balanced_apply_reference):
        out = function(q[:, None], k[None, :2], v[0], a[0], b[0], 3)
        assert out.shape == (3, 2, 6, 4)
        answers.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v, a, b))))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_mapped():
    q, k, v, a, b = problem(6, 5)

    def loss(q, k):
        return balanced_apply(q, k, v[0], a[0], b[0], 4).square().sum()

    mapped = torch.vmap(loss)(q, k)
    expected = torch.stack([loss(*pair) for pair in zip(q, k, strict=True)])
    torch.testing.assert_close(mapped, expected)
    ours, theirs = (torch.autograd.grad(total.sum(), (q, k, v)) for total in (mapped, expected))
    for mine, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, right)


def test_inside_of_modes_that_watch_operations(form):
    # There is no graph to be had inside of an operator that such a mode has intercepted.
    arguments = problem(6, 5)
    expected = answers(balanced_apply_reference, arguments, 5)
    with Watching():
        found = answers(balanced_apply, arguments, 5)
    for got, right in zip(found, expected, strict=True):
        torch.testing.assert_close(got, right, rtol=1e-9, atol=1e-12)


def test_obeys_the_rules_of_torch(form):
    arguments = problem(6, 5)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(tiled.balanced.registered, (*arguments, 4), test_utils=checks)


def test_derivatives_of_derivatives():
    arguments = [t.detach()[:1].requires_grad_() for t in problem(3, 4)]
    assert torch.autograd.gradgradcheck(lambda *given: balanced_apply(*given, 3), arguments, fast_mode=True)


def test_nan_is_not_hidden():
    q, k, v, a, b = (t.detach() for t in problem(4, 5))
    q[0, 1, 2] = torch.nan
    out = balanced_apply(q, k, v, a, b, 5)
    assert out[0].isnan().any()
    assert out[1:].isfinite().all()

"""Softmax attention with dropped weights, tile by tile, against its definition with the same weights kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from monge.kernels import dropped_softmax
from monge.kernels.attention.dropped import tiled
from monge.kernels.attention.dropped.reference import dropped_softmax_reference
from monge.nn.functional import softmax_attention

D = torch.float64


def draw(*shape, seed, dtype=D):
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()


def masks(n, m):
    allowed = torch.rand(5, n, m, generator=torch.Generator().manual_seed(5)) < 0.6
    allowed[..., 0] = True
    return {
        "none": None,
        "one for all": allowed[:1],
        "of pairs": allowed,
        "of keys": allowed[:, :1],
        "added": torch.where(allowed, 0.3, -torch.inf).double(),
    }


@pytest.mark.parametrize("tile", [2**20, 1, 130])
@pytest.mark.parametrize("kind", ["none", "one for all", "of pairs", "of keys", "added"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (6, 1), (9, 7)])
def test_equals_the_definition_with_its_gradients(monkeypatch, n, m, kind, tile):
    monkeypatch.setattr(tiled, "_TILE", tile)
    q, k, v = draw(5, n, 4, seed=1), draw(5, m, 4, seed=2), draw(5, m, 3, seed=3)
    mask, seed = masks(n, m)[kind], torch.tensor(7)
    out = tiled.dropped_softmax_tiled(q, k, v, mask, seed, 0.3)
    expected = dropped_softmax_reference(q, k, v, mask, *tiled.kept(5, n, m, seed, 0.3))
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-14)
    slope = draw(5, n, 3, seed=4).detach()
    for ours, theirs in zip(
        torch.autograd.grad(out, (q, k, v), slope), torch.autograd.grad(expected, (q, k, v), slope), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dropout", [1e-5, 0.1, 0.5, 0.99])
def test_share_of_what_is_kept(dropout):
    stayed, share = tiled.kept(4, 500, 500, torch.tensor(3), dropout)
    assert share == pytest.approx(1 - dropout, abs=2**-17)
    # Five standard deviations of a million independent weights.
    spread = 5 * (share * (1 - share) / stayed.numel()) ** 0.5
    assert float(stayed.double().mean()) == pytest.approx(share, abs=spread)
    # Neighbours come from one random word and must not know of each other.
    both = (stayed[..., 1:] & stayed[..., :-1]).double().mean()
    assert float(both) == pytest.approx(share**2, abs=3 * spread)


def test_mean_is_softmax():
    q, k, v = (draw(1, 20, 4, seed=seed).detach() for seed in (1, 2, 3))
    many = dropped_softmax(q.expand(20_000, 20, 4), k, v, None, 0.2)
    expected = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    torch.testing.assert_close(many.mean(0, keepdim=True), expected, rtol=0, atol=0.03)


def test_nothing_or_everything_dropped():
    q, k, v = (draw(2, 6, 4, seed=seed) for seed in (1, 2, 3))
    assert (softmax_attention(q, k, v, dropout=1.0) == 0).all()
    torch.testing.assert_close(softmax_attention(q, k, v, dropout=1e-9), softmax_attention(q, k, v))


def test_attention_layers_go_through_it():
    q, k, v = (draw(2, 3, 6, 4, seed=seed) for seed in (1, 2, 3))
    padding = torch.arange(6) >= torch.tensor([[[6]], [[4]]])
    for options in ({}, {"causal": True}, {"key_padding": padding}):
        torch.manual_seed(0)
        first = softmax_attention(q, k, v, dropout=0.4, **options)
        torch.manual_seed(0)
        torch.testing.assert_close(softmax_attention(q, k, v, dropout=0.4, **options), first)
        assert not torch.equal(softmax_attention(q, k, v, dropout=0.4, **options), first)
    assert (softmax_attention(q, k, v, dropout=0.4, causal=True)[:, :, 0] - v[:, :, 0] / 0.6).abs().min() < 1e-4
    half = softmax_attention(*(t.bfloat16() for t in (q, k, v)), dropout=0.4)
    assert half.dtype == torch.bfloat16


def test_a_mask_that_learns_keeps_its_gradient():
    q, k, v, bias = draw(2, 6, 4, seed=1), draw(2, 6, 4, seed=2), draw(2, 6, 4, seed=3), draw(6, 6, seed=4)
    softmax_attention(q, k, v, pairs=bias, dropout=0.3).sum().backward()
    assert bias.grad is not None
    assert bias.grad.abs().sum() > 0


def test_derivatives_of_derivatives():
    arguments = [draw(1, size, 3, seed=size) for size in (3, 4, 4)]
    seed = torch.tensor(1)
    assert torch.autograd.gradgradcheck(
        lambda *given: tiled.dropped_softmax_tiled(*given, None, seed, 0.3), arguments, fast_mode=True
    )


def test_obeys_the_rules_of_torch():
    arguments = (draw(2, 6, 4, seed=1), draw(2, 5, 4, seed=2), draw(2, 5, 3, seed=3), None, torch.tensor(1), 0.3)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(tiled._dropped.registered, arguments, test_utils=checks)

"""The learned prior: equal to an additive log-prior, seen by the anchor that can see it."""

from __future__ import annotations

import pytest
import torch

from draws import draw
from monge.errors import InputError
from monge.nn.couplers import Prior, Softmax

from . import small

D = torch.float64


@pytest.mark.parametrize("causal", [False, True])
def test_equals_an_additive_log_prior(causal):
    prior = small.make("prior", 2, 4, dtype=D)
    q, k, v = draw(3, 2, 9, 4, seed=1), draw(3, 2, 9, 4, seed=2), draw(3, 2, 9, 5, seed=3)
    pairs = prior.log_prior(9, 9, causal=causal)
    out = prior.attend(q, k, v, causal=causal)
    torch.testing.assert_close(out, Softmax().attend(q, k, v, pairs=pairs[None], causal=causal), rtol=1e-8, atol=1e-10)


def test_the_part_of_two_positions_depends_on_their_difference():
    prior = Prior(2, 4, frequencies=3).double()
    with torch.no_grad():
        prior.odd.normal_()
        prior.even.normal_()
        prior.first.zero_()
        prior.leave.weight.zero_()
    log = prior.log_prior(12, 12)
    for offset in range(-5, 6):
        diagonal = log.diagonal(offset, -2, -1)
        torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal))
    omega = torch.tensor([1.0, 1e-2, 1e-4], dtype=D)
    expected = (prior.even * (3 * omega).cos() + prior.odd * (3 * omega).sin()).sum(-1)
    torch.testing.assert_close(log[:, 7, 4], expected)


def test_causal_slope_is_recency():
    prior = Prior(4, 4)
    log = prior.log_prior(6, 6, causal=True) - prior.log_prior(6, 6)
    slopes = torch.tensor([2 ** (-8 * (h + 1) / 4) for h in range(4)])
    torch.testing.assert_close(log[:, 0], slopes[:, None] * torch.arange(6), rtol=1e-4, atol=1e-5)


def test_a_bias_on_keys_cannot_matter_to_a_plan():
    prior = Prior(2, 4, "sinkhorn", tol=1e-12, frequencies=3).double()
    q, k, v = draw(1, 2, 9, 4, seed=1), draw(1, 2, 9, 4, seed=2), draw(1, 2, 9, 5, seed=3)
    before = prior.attend(q, k, v)
    with torch.no_grad():
        prior.first.add_(3.0)
    torch.testing.assert_close(prior.attend(q, k, v), before, rtol=1e-6, atol=1e-8)
    with torch.no_grad():
        prior.even.add_(1.0)
    assert (prior.attend(q, k, v) - before).abs().max() > 1e-3


def test_messages():
    with pytest.raises(InputError, match="no scores that a prior could be added to"):
        Prior(2, 4, "pivots")
    with pytest.raises(InputError, match="frequencies must be a positive integer"):
        Prior(2, 4, frequencies=0)

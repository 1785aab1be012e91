"""Doubly stochastic matrices: sums, limits, gradients and refusals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from monge.errors import ConvergenceWarning, DtypeError, InputError, ShapeError
from monge.nn.functional import doubly_stochastic


def draw(*shape, seed=0, dtype=torch.float64, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def off(plan):
    """How far the sums are from one at most."""
    return max(float((plan.sum(side) - 1).abs().max()) for side in (-1, -2))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 300.0, 1e5])
@pytest.mark.parametrize("n", [1, 2, 4, 9, 33])
def test_the_limit_is_doubly_stochastic_at_every_scale(n, scale):
    scores = draw(40, n, n, seed=n, scale=scale)
    plan = doubly_stochastic(scores, converged=True)
    assert off(plan) <= 2e-14 * max(1, n / 10)
    # It differs from the scores by one number a row and one a column, where it is not lost in rounding.
    logs = plan.log()
    corner = logs[:, 0, 0] + logs[:, -1, -1] - logs[:, 0, -1] - logs[:, -1, 0]
    given = scores[:, 0, 0] + scores[:, -1, -1] - scores[:, 0, -1] - scores[:, -1, 0]
    seen = corner.isfinite() & (plan[:, [0, 0, -1, -1], [0, -1, 0, -1]] > 1e-200).all(-1)
    assert torch.allclose(corner[seen], given[seen], rtol=1e-9, atol=1e-9 * scale)


def test_the_limit_of_two_by_two_is_known():
    scores = draw(50, 2, 2, scale=3.0)
    ratio = (scores[:, 0, 0] + scores[:, 1, 1] - scores[:, 0, 1] - scores[:, 1, 0]) / 4
    diagonal = torch.sigmoid(2 * ratio)
    plan = doubly_stochastic(scores, converged=True)
    assert torch.allclose(plan[:, 0, 0], diagonal, atol=1e-14)
    assert torch.allclose(plan[:, 1, 1], diagonal, atol=1e-14)


def test_cold_scores_give_the_best_permutation():
    for seed in range(20):
        scores = draw(5, 5, seed=seed)
        best = max(itertools.permutations(range(5)), key=lambda p: sum(scores[i, j] for i, j in enumerate(p)))
        plan = doubly_stochastic(1e4 * scores, converged=True)
        assert torch.allclose(plan[range(5), best], torch.ones(5, dtype=torch.float64))


def test_gradients_of_the_limit_and_of_the_steps():
    scores = draw(3, 4, 4).requires_grad_()
    for options in ({"converged": True}, {"n_half": 5}, {"n_half": 6, "rounding": True}, {"end_on": "columns"}):
        assert gradcheck(lambda held, options=options: doubly_stochastic(held, **options), scores), options
        assert gradgradcheck(lambda held, options=options: doubly_stochastic(held, **options), scores), options
    permutation = (1e6 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    doubly_stochastic(permutation, converged=True).square().sum().backward()
    assert permutation.grad.abs().max() == 0


def test_many_steps_and_their_gradient_tend_to_those_of_the_limit():
    scores, upstream = draw(20, 6, 6), draw(20, 6, 6, seed=1)
    found = []
    for options in ({"converged": True}, {"n_half": 2000}):
        held = scores.clone().requires_grad_()
        plan = doubly_stochastic(held, **options)
        found.append((plan.detach(), torch.autograd.grad(plan, held, upstream)[0]))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("n_half", [1, 2, 3])
def test_rounding_moves_by_at_most_twice_the_error(n_half):
    scores = draw(200, 7, 7, scale=4.0)
    for end_on in ("rows", "columns"):
        rough = doubly_stochastic(scores, n_half=n_half, end_on=end_on)
        exact = doubly_stochastic(scores, n_half=n_half, end_on=end_on, rounding=True)
        assert off(exact) <= 1e-14
        assert exact.min() >= 0
        error = (rough.sum(-1) - 1).abs().sum(-1) + (rough.sum(-2) - 1).abs().sum(-1)
        assert bool(((exact - rough).abs().sum((-2, -1)) <= 2 * error + 1e-13).all())


def test_forbidden_pairs():
    scores = draw(4, 4)
    scores[0, 1] = scores[2, 3] = -math.inf
    plan = doubly_stochastic(scores, converged=True)
    assert plan[0, 1] == 0
    assert plan[2, 3] == 0
    assert off(plan) <= 1e-14
    scores[0] = -math.inf
    assert doubly_stochastic(scores).isnan().any()
    # The first two rows share one column.
    scores = torch.tensor([[0.0, -math.inf, -math.inf], [0.0, -math.inf, -math.inf], [0.0, 0.0, 0.0]])
    with pytest.warns(ConvergenceWarning, match="allow more pairs"):
        doubly_stochastic(scores, converged=True)


def test_low_precision_comes_back_as_it_came():
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        scores = draw(8, 4, 4).to(dtype)
        assert doubly_stochastic(scores).dtype == dtype
        right = doubly_stochastic(scores.double(), converged=True)
        assert (doubly_stochastic(scores, converged=True).double() - right).abs().max() <= torch.finfo(dtype).eps
    with torch.autocast("cpu"):
        assert doubly_stochastic(draw(4, 4, dtype=torch.float32)).dtype == torch.float32


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(ShapeError, match=r"\(\.\.\., n, n\), but have \(2, 3\)"):
        doubly_stochastic(draw(2, 3))
    with pytest.raises(ShapeError, match="square"):
        doubly_stochastic(draw(3))
    with pytest.raises(DtypeError, match="floating"):
        doubly_stochastic(torch.ones(2, 2, dtype=torch.long))
    with pytest.raises(InputError, match="end_on"):
        doubly_stochastic(draw(2, 2), end_on="left")
    for n_half in (0, 2.5, math.nan):
        with pytest.raises(InputError, match="n_half"):
            doubly_stochastic(draw(2, 2), n_half=n_half)

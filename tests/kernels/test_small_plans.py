"""Half-steps in the lanes of registers, against their definition in the log domain and against differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from monge.errors import DtypeError, InputError, ShapeError
from monge.kernels import AVAILABLE, _extension, small_plans
from monge.kernels.attention.small import small_plans_reference

needs_native = pytest.mark.skipif(not AVAILABLE, reason="the native kernels are not built")


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def instructions(request):
    """Each set of instructions that this processor has."""
    if not AVAILABLE:
        pytest.skip("the native kernels are not built")
    module = _extension.module()
    if module.limit_instructions(["baseline", "avx2", "avx512"].index(request.param)) != request.param:
        module.limit_instructions(2)
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    module.limit_instructions(2)


def draw(*shape, seed=0, dtype=torch.float64, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_gradient(function, scores, upstream):
    scores = scores.clone().requires_grad_()
    plan = function(scores)
    return plan.detach(), torch.autograd.grad(plan, scores, upstream.to(plan.dtype))[0]


@pytest.mark.parametrize("end_on", ["rows", "columns"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11, 32, 33])
def test_loop_is_the_definition_and_its_backward_pass_that_of_autograd(instructions, n, end_on):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        for n_half in (1, 2, 7, 40):
            # No whole number of registers, so that some lanes are empty.
            scores, upstream = draw(19, n, n, seed=n_half, dtype=dtype), draw(19, n, n, seed=n, dtype=dtype)
            found = with_gradient(lambda held, k=n_half: small_plans(held, k, end_on), scores, upstream)
            right = with_gradient(
                lambda held, k=n_half: small_plans_reference(held, k, end_on), scores.double(), upstream.double()
            )
            for one, other in zip(found, right, strict=True):
                assert (one - other).abs().max() <= tolerance
            exact = found[0].sum(-1 if end_on == "rows" else -2)
            assert (exact - 1).abs().max() <= (1e-14 if dtype == torch.float64 else 1e-6) * n


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_any_spread_stand_beside_one_another(dtype):
    scores = torch.stack([draw(4, 4, seed=k, dtype=dtype, scale=10.0**k) for k in range(-4, 7)])
    scores[3, 0, 1] = scores[4, 2] = -math.inf
    scores[5, 1, 1], scores[6, 0, 0] = math.nan, math.inf
    scores[7, range(4), range(4)] = -math.inf
    upstream = draw(len(scores), 4, 4, seed=1, dtype=dtype)
    plan, gradient = with_gradient(lambda held: small_plans(held, 40), scores, upstream)
    expected, slope = with_gradient(lambda held: small_plans_reference(held, 40), scores.double(), upstream.double())
    for k in (4, 5, 6):
        assert plan[k].isnan().any()
    healthy = [k for k in range(len(scores)) if k not in (4, 5, 6)]
    # Rounding of the scores themselves is as large as their spread.
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.allclose(plan[healthy].double(), expected[healthy], atol=tolerance)
    assert torch.allclose(gradient[healthy].double(), slope[healthy], atol=10 * tolerance)


@needs_native
def test_empty_support_between_blocks_keeps_its_numbers():
    # Two rows share one column: scalings grow like powers of two, out of the range of their type.
    scores = torch.full((5, 3, 3), -math.inf)
    scores[:, 0, 0] = scores[:, 1, 0] = scores[:, 2, 1] = scores[:, 2, 2] = 0.0
    plan = small_plans(scores, 2001)
    assert torch.allclose(plan, small_plans_reference(scores.double(), 2001).float())
    assert torch.allclose(plan.sum(-1), torch.ones(5, 3))


def test_derivatives_of_first_and_second_order():
    scores = draw(2, 3, 3).requires_grad_()
    assert gradcheck(lambda held: small_plans(held, 6), scores)
    assert gradgradcheck(lambda held: small_plans(held, 6), scores)


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4), (2, 3, 2, 2), (3, 0, 0)])
def test_shapes(shape):
    assert small_plans(draw(*shape), 4).shape == shape


def test_a_problem_does_not_depend_on_its_neighbours():
    scores = draw(37, 4, 4)
    alone = torch.stack([small_plans(one, 40) for one in scores])
    assert torch.equal(small_plans(scores, 40), alone)


def test_transforms_and_the_compiler():
    scores = draw(3, 2, 2)
    mapped = torch.vmap(lambda one: small_plans(one, 5))(scores)
    assert torch.equal(mapped, small_plans(scores, 5))
    slope = torch.func.grad(lambda held: small_plans(held, 5).square().sum())(scores)
    held = scores.clone().requires_grad_()
    small_plans(held, 5).square().sum().backward()
    assert torch.allclose(slope, held.grad)


@needs_native
def test_raw_operator_names_what_is_wrong():
    run = torch.ops.monge.doubly_stochastic
    with pytest.raises(ShapeError, match="scores must have shape"):
        run(draw(2, 3, 4), 5, "rows")
    with pytest.raises(InputError, match="n_half"):
        run(draw(2, 3, 3), 0, "rows")
    with pytest.raises(InputError, match="end_on"):
        run(draw(2, 3, 3), 1, "sides")
    with pytest.raises(DtypeError, match="scores"):
        run(draw(2, 3, 3).half(), 1, "rows")

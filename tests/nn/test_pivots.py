"""Pivot attention: the exact form against its definition, the entropic form, gradients, and published faults."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from draws import draw, padding
from monge.errors import InputError, ShapeError
from monge.kernels import half_steps
from monge.kernels.attention import mix, pivot_apply
from monge.nn.couplers import EntropicPivots, Pivots
from monge.nn.functional import entropic_pivot_attention, pivot_attention, softmax_attention
from monge.nn.functional._fixed_point import balanced
from monge.testing import LargestTensor

from .oracles import entropic_pivot_factors, entropic_plan, pivot_factors, pivot_plan, scores

D = torch.float64


class TestExactForm:
    @pytest.mark.parametrize(("n", "m", "r"), [(1, 1, 1), (7, 9, 4), (63, 100, 5), (5, 64, 8)])
    def test_equals_the_definition(self, n, m, r):
        q, k, v, z = draw(n, 6, seed=1), draw(m, 6, seed=2), draw(m, 3, seed=3), draw(r, 6, seed=4)
        log_mass = draw(r, seed=5).log_softmax(0)
        share_q = (scores(q, z) + log_mass).softmax(-1)
        share_k = (scores(k, z) + log_mass).softmax(-1)
        plan = pivot_plan(share_q, share_k)
        out = pivot_attention(q, k, v, z, log_mass=log_mass)
        torch.testing.assert_close(out, n * plan @ v, rtol=1e-12, atol=1e-12)
        left, right = pivot_factors(q, k, z, log_mass=log_mass)
        torch.testing.assert_close(left @ right.T, plan, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(left.sum(-1), torch.full((n,), 1 / n, dtype=D))
        torch.testing.assert_close(right.sum(-2), torch.ones(r, dtype=D))

    @settings(max_examples=60, deadline=None)
    @given(
        n=st.integers(1, 40), m=st.integers(1, 40), r=st.integers(1, 9), seed=st.integers(0, 10**6),
        scale=st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6, 1e9]), iterations=st.integers(0, 3),
    )  # fmt: skip
    def test_exact_at_any_scale(self, n, m, r, seed, scale, iterations):
        q, k, z = (draw(size, 4, seed=seed + i, dtype=torch.float32) for i, size in enumerate((n, m, r)))
        left, right = pivot_factors(q * scale, k * scale, z, iterations=iterations)
        plan = left @ right.mT
        assert (plan >= 0).all()
        assert (n * plan.sum(-1) - 1).abs().max() < 1e-5
        assert (m * plan.sum(-2) - 1).abs().max() < 1e-5

    @pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0, 1e4])
    def test_column_error_of_many_tokens(self, scale):
        # The mean of the outputs weighted by nothing must be the mean of any values: read columns off unit vectors.
        n, r = 4096, 32
        q, k, z = (draw(size, 16, seed=i, dtype=torch.float32) for i, size in enumerate((n, n, r)))
        left, right = pivot_factors(scale * q, scale * k, z)
        columns = left.sum(-2) @ right.mT * n
        rows = left @ right.sum(-2) * n
        assert (columns - 1).abs().max() < 1e-5
        assert (rows - 1).abs().max() < 1e-5

    def test_one_query_alone_on_a_pivot(self):
        # The remainder of the coupling is one part in n of all mass, of the size of rounding: the float64 of the
        # masses is what keeps rows and columns exact here.
        n = 20000
        q = torch.zeros(n, 2)
        q[0, 0] = 1.0
        z = torch.tensor([[200.0, 0.0], [0.0, 200.0], [0.0, 0.0]])
        k = q.clone()
        k[0] = torch.tensor([0.0, 1.0])
        left, right = pivot_factors(q, k, z)
        assert (n * (left @ right.sum(-2)) - 1).abs().max() < 1e-5
        assert (n * (right @ left.sum(-2)) - 1).abs().max() < 1e-5

    def test_rank_is_bounded(self):
        left, right = pivot_factors(draw(30, 8, seed=1), draw(30, 8, seed=2), draw(4, 8, seed=3))
        assert torch.linalg.matrix_rank(left @ right.T) == 4

    def test_one_pivot_is_the_mean(self):
        v = draw(9, 3, seed=3)
        out = pivot_attention(draw(5, 8, seed=1), draw(9, 8, seed=2), v, draw(1, 8, seed=4))
        torch.testing.assert_close(out, v.mean(0).expand(5, 3))

    def test_order_of_pivots_does_not_matter(self):
        q, k, v, z = draw(5, 4, seed=1), draw(9, 4, seed=2), draw(9, 3, seed=3), draw(6, 4, seed=4)
        log_mass, order = draw(6, seed=5), torch.tensor([3, 1, 0, 5, 2, 4])
        out = pivot_attention(q, k, v, z, log_mass=log_mass, iterations=2)
        moved = pivot_attention(q, k, v, z[order], log_mass=log_mass[order], iterations=2)
        torch.testing.assert_close(out, moved)

    def test_iterations_move_the_use_towards_the_masses(self):
        q, k, z = draw(50, 4, seed=1), draw(60, 4, seed=2), draw(5, 4, seed=3, scale=3.0)
        log_mass = draw(5, seed=4).log_softmax(0)
        errors = []
        for iterations in (0, 1, 5, 100):
            left, _ = pivot_factors(q, k, z, log_mass=log_mass, iterations=iterations)
            errors.append(float((left.sum(0) - log_mass.exp()).abs().sum()))
        assert errors[0] > errors[1] > errors[2] > errors[3]
        assert errors[3] < 1e-10

    def test_many_iterations_reach_the_glued_entropic_plans(self):
        q, k, z = draw(8, 4, seed=1), draw(9, 4, seed=2), draw(3, 4, seed=3)
        a, b = torch.full((8,), 1 / 8, dtype=D), torch.full((9,), 1 / 9, dtype=D)
        p = torch.tensor([0.2, 0.5, 0.3], dtype=D)
        expected = entropic_plan(scores(q, z), a, p) @ torch.diag(1 / p) @ entropic_plan(scores(z, k), p, b)
        left, right = pivot_factors(q, k, z, log_mass=p.log(), iterations=200)
        torch.testing.assert_close(left @ right.T, expected, rtol=1e-10, atol=1e-12)

    def test_large_epsilon_is_uniform(self):
        v = draw(9, 3, seed=3)
        out = pivot_attention(draw(5, 8, seed=1), draw(9, 8, seed=2), v, draw(4, 8, seed=4), epsilon=1e8)
        torch.testing.assert_close(out, v.mean(0).expand(5, 3), atol=1e-6, rtol=0)

    @pytest.mark.parametrize("masks", [False, True])
    @pytest.mark.parametrize(("iterations", "gradient"), [(0, "unrolled"), (2, "unrolled"), (40, "implicit")])
    def test_gradients(self, masks, iterations, gradient):
        q, k, v, z = draw(2, 2, 5, 3, seed=1), draw(2, 2, 4, 3, seed=2), draw(2, 2, 4, 2, seed=3), draw(2, 3, 3, seed=4)
        mask = {"query_padding": padding(5, 0, 2), "key_padding": padding(4, 1, 0)} if masks else {}

        def attend(q, k, v, z, log_mass):
            return pivot_attention(q, k, v, z, log_mass=log_mass, iterations=iterations, gradient=gradient, **mask)

        arguments = [t.requires_grad_() for t in (q, k, v, z, draw(2, 3, seed=5))]
        assert torch.autograd.gradcheck(attend, arguments, fast_mode=True)

    def test_the_lean_backward_equals_autograd_of_the_definition(self):
        # Through mix and two softmaxes, in float32, where one side of pivots is scarce and the other plentiful.
        q, k, v, z = (draw(2, size, 8, seed=i, dtype=torch.float32) for i, size in enumerate((40, 30, 30, 6)))
        bias_q, bias_k = draw(2, 6, seed=5, dtype=torch.float32), draw(2, 6, seed=6, dtype=torch.float32)
        lean = [t.clone().requires_grad_() for t in (q, k, v, z, bias_q, bias_k)]
        plain = [t.clone().requires_grad_() for t in (q, k, v, z, bias_q, bias_k)]
        out = pivot_apply(*lean)
        share_q = (plain[0] @ plain[3].mT + plain[4][:, None]).softmax(-1)
        share_k = (plain[1] @ plain[3].mT + plain[5][:, None]).softmax(-1)
        expected = share_q @ mix(share_q.sum(-2), share_k.sum(-2), share_k.mT @ plain[2])
        torch.testing.assert_close(out, expected)
        weight = draw(*out.shape, seed=9, dtype=torch.float32)
        (out * weight).sum().backward()
        (expected * weight).sum().backward()
        for a, b in zip(lean, plain, strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)

    def test_dead_pivot(self):
        q, k, v, z = (
            draw(2, size, 8, seed=i, dtype=torch.float32).requires_grad_() for i, size in enumerate((9, 8, 8, 5))
        )
        log_mass = torch.tensor([0.0, 0.0, 0.0, 0.0, -500.0], requires_grad=True)
        out = pivot_attention(q, k, v, z, log_mass=log_mass, iterations=2)
        out.square().sum().backward()
        alive = pivot_attention(q, k, v, z[:, :4], log_mass=log_mass[:4], iterations=2)
        torch.testing.assert_close(out, alive)
        assert all(t.grad.isfinite().all() for t in (q, k, v, z, log_mass))

    @pytest.mark.parametrize("iterations", [0, 1])
    def test_second_derivatives(self, iterations):
        arguments = [draw(4, 3, seed=i).requires_grad_() for i in range(3)] + [draw(3, 3, seed=4).requires_grad_()]

        def attend(*arguments):
            return pivot_attention(*arguments, iterations=iterations)

        assert torch.autograd.gradgradcheck(attend, arguments, fast_mode=True)

    def test_memory_is_linear(self):
        # The largest tensor that any operation makes, forward or backward, is an input or one of n x r.
        n, d, r = 3000, 16, 8
        q, k, v = (draw(1, 1, n, d, seed=i, dtype=torch.float32).requires_grad_() for i in range(3))
        with LargestTensor() as largest:
            pivot_attention(q, k, v, draw(1, r, d, dtype=torch.float32)).sum().backward()
        assert largest.numbers <= n * max(d, r)


class TestImplicitGradient:
    def test_equals_a_long_unroll(self):
        s = draw(2, 7, 4, seed=1).div(0.7).requires_grad_()
        a = draw(2, 7, seed=2).log_softmax(-1)
        b = draw(2, 4, seed=3).log_softmax(-1).requires_grad_()
        weight = draw(2, 7, 4, seed=4)
        grads = []
        for potential in (lambda: balanced(s, a, b, 601), lambda: half_steps(s, a, b, 601)[1]):
            plan = (s + potential()[..., None, :]).softmax(-1) * a.exp()[..., None]
            # log-weights enter normalised, so that their gradient along constants has no meaning to compare.
            ds, db = torch.autograd.grad((plan * weight).sum(), (s, b))
            grads.append((ds, db - b.exp() * db.sum(-1, keepdim=True)))
        for implicit, unrolled in zip(*grads, strict=True):
            torch.testing.assert_close(implicit, unrolled, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("masked", [False, True])
    def test_gradcheck_of_the_entropic_form(self, masked):
        q, k, v, z = draw(1, 1, 5, 3, seed=1), draw(1, 1, 4, 3, seed=2), draw(1, 1, 4, 2, seed=3), draw(1, 3, 3, seed=4)
        mask = {"query_padding": padding(5, 2), "key_padding": padding(4, 1)} if masked else {}

        def attend(q, k, v, z, log_mass):
            return entropic_pivot_attention(
                q, k, v, z, log_mass=log_mass, epsilon=0.7, n_half=61, gradient="implicit", **mask
            )

        assert torch.autograd.gradcheck(
            attend, [t.requires_grad_() for t in (q, k, v, z, draw(1, 3, seed=5))], fast_mode=True
        )


class TestEntropicForm:
    def test_one_half_step_is_pack_then_unpack(self):
        q, k, v, z = draw(2, 7, 4, seed=1), draw(2, 9, 4, seed=2), draw(2, 9, 3, seed=3), draw(5, 4, seed=4)
        out = entropic_pivot_attention(q, k, v, z, n_half=1)
        packed = softmax_attention(z.expand(2, 5, 4), k, v)
        torch.testing.assert_close(out, softmax_attention(q, z.expand(2, 5, 4), packed))

    @pytest.mark.parametrize("n_half", [1, 3, 5, 9])
    def test_equals_the_naive_half_steps(self, n_half):
        q, k, z = draw(8, 4, seed=1), draw(9, 4, seed=2), draw(3, 4, seed=3)
        p = torch.tensor([0.2, 0.5, 0.3], dtype=D)
        first, second = scores(q, z).exp(), scores(z, k).exp()
        for step in range(n_half):
            if step % 2 == 0:
                first = first / first.sum(1, keepdim=True) / 8
                second = second / second.sum(1, keepdim=True) * p[:, None]
            else:
                first = first / first.sum(0) * p
                second = second / second.sum(0) / 9
        left, right = entropic_pivot_factors(q, k, z, log_mass=p.log(), n_half=n_half)
        torch.testing.assert_close(left @ right.T, 8 * first @ torch.diag(1 / p) @ second, rtol=1e-10, atol=1e-12)

    def test_converges_to_the_glued_plans(self):
        q, k, z = draw(8, 4, seed=1), draw(9, 4, seed=2), draw(3, 4, seed=3)
        p = torch.tensor([0.2, 0.5, 0.3], dtype=D)
        a, b = torch.full((8,), 1 / 8, dtype=D), torch.full((9,), 1 / 9, dtype=D)
        expected = entropic_plan(scores(q, z), a, p) @ torch.diag(1 / p) @ entropic_plan(scores(z, k), p, b)
        left, right = entropic_pivot_factors(q, k, z, log_mass=p.log(), n_half=401)
        torch.testing.assert_close(left @ right.T / 8, expected, rtol=1e-10, atol=1e-12)

    def test_the_coupler_glues_two_plans(self):
        coupler = EntropicPivots(1, 4, 3, n_half=401).double()
        with torch.no_grad():
            coupler.mass_logits.copy_(torch.tensor([[0.2, 0.9, 0.4]]))
        q, k, z, p = draw(8, 4, seed=1), draw(9, 4, seed=2), coupler.locations[0], coupler.mass[0]
        a, b = torch.full((8,), 1 / 8, dtype=D), torch.full((9,), 1 / 9, dtype=D)
        glued = entropic_plan(scores(q, z), a, p) @ torch.diag(1 / p) @ entropic_plan(scores(z, k), p, b)
        plan = coupler(q[None, None], k[None, None]).dense()[0, 0]
        torch.testing.assert_close(plan, glued, rtol=1e-10, atol=1e-12)
        assert torch.linalg.matrix_rank(plan) == 3

    def test_five_half_steps_leave_large_column_errors_where_the_exact_form_has_none(self):
        # Published fault: "doubly stochastic" after five half-steps, with column errors of tens of per cent.
        q, k, z = (draw(size, 16, seed=i, scale=3.0**0.5 * 1.3) for i, size in enumerate((256, 256, 32)))
        left, right = entropic_pivot_factors(q, k, z)
        assert ((left @ right.T).sum(0) - 1).abs().max() > 0.2
        left, right = pivot_factors(q, k, z)
        assert (256 * (left @ right.T).sum(0) - 1).abs().max() < 1e-12

    def test_pivots_at_the_keys_approach_the_entropic_plan(self):
        q, k = draw(12, 4, seed=1), draw(12, 4, seed=2)
        a = torch.full((12,), 1 / 12, dtype=D)
        z = 40 * k
        # The keys choose their own pivot; queries then see scores 40 s q k, tempered back by epsilon.
        left, right = pivot_factors(q, k, z, epsilon=40.0, iterations=300)
        near = left @ right.T
        expected = entropic_plan(scores(q, k), a, a) @ torch.diag(1 / a) @ entropic_plan(scores(k, k), a, a)
        torch.testing.assert_close(near, expected, rtol=1e-6, atol=1e-9)


class TestPublishedFaults:
    def test_rows_sum_to_one_not_to_one_over_r_squared(self):
        # A factor r^{-1/2} in place of r^{1/2} on both features.
        for coupler in (Pivots(2, 4, 16), EntropicPivots(2, 4, 16)):
            rows, _ = coupler(
                draw(1, 2, 9, 4, dtype=torch.float32), draw(1, 2, 9, 4, seed=1, dtype=torch.float32)
            ).marginals()
            torch.testing.assert_close(rows, torch.full_like(rows, 1 / 9))

    def test_learned_masses_are_used(self):
        for coupler in (Pivots(2, 4, 8, iterations=1), EntropicPivots(2, 4, 8), Pivots(2, 4, 8)):
            q, k, v = (draw(1, 2, 9, 4, seed=i, dtype=torch.float32) for i in range(3))
            before = coupler.attend(q, k, v)
            with torch.no_grad():
                coupler.mass_logits[:, 0] = 3.0
            assert (coupler.attend(q, k, v) - before).abs().max() > 1e-3

    def test_padded_keys_are_not_favoured_by_the_sign_of_a_mask(self):
        # A large number added to padded scores with the wrong sign.
        q, k, v, z = draw(1, 5, 4, seed=1), draw(1, 8, 4, seed=2), draw(1, 8, 3, seed=3), draw(6, 4, seed=4)
        for attend in (pivot_attention, entropic_pivot_attention):
            out = attend(q, k, v, z, key_padding=padding(8, 3)[0])
            torch.testing.assert_close(out, attend(q, k[:, :5], v[:, :5], z))

    @pytest.mark.parametrize("form", [Pivots, EntropicPivots])
    def test_masses_follow_their_heads(self, form):
        # Masses repeated head by head while batch and heads were flattened batch by batch.
        coupler = form(3, 4, 5).double()
        with torch.no_grad():
            coupler.mass_logits.copy_(draw(3, 5, seed=9))
        q, k, v = (draw(2, 3, 6, 4, seed=i) for i in range(3))
        out = coupler.attend(q, k, v)
        for head in range(3):
            alone = form(1, 4, 5).double()
            alone.load_state_dict({name: value[head : head + 1] for name, value in coupler.state_dict().items()})
            part = [t[:, head : head + 1] for t in (q, k, v)]
            torch.testing.assert_close(out[:, head : head + 1], alone.attend(*part))

    def test_pivots_start_distinguishable(self):
        # Locations of standard deviation 0.02 make every score nearly equal and the plan uniform.
        torch.manual_seed(0)
        coupler = Pivots(4, 64, 32)
        q = draw(1, 4, 100, 64, dtype=torch.float32)
        share = (scores(q, coupler.locations)).softmax(-1)
        assert coupler.locations.norm(dim=-1).mean() > 0.9
        assert share.std(-1).mean() > 1e-3

    def test_mass_never_dies(self):
        coupler = Pivots(1, 4, 10)
        with torch.no_grad():
            coupler.mass_logits[0, 0] = -1e4
        torch.testing.assert_close(coupler.mass.sum(-1), torch.ones(1))
        torch.testing.assert_close(coupler.mass[0, 0], torch.tensor(1e-5))


class TestArguments:
    def test_messages(self):
        q, k, v, z = (torch.randn(3, 4) for _ in range(4))
        with pytest.raises(InputError, match="gradient='none' is unknown"):
            pivot_attention(q, k, v, z, gradient="none")
        with pytest.raises(ShapeError, match="pivots must have shape"):
            pivot_attention(q, k, v, z[:, :3])
        with pytest.raises(InputError, match="pivots must be a positive integer"):
            Pivots(2, 4, 0)
        with pytest.raises(InputError, match="iterations must be an integer, at least 0"):
            Pivots(2, 4, iterations=-1)
        with pytest.raises(InputError, match=r"n_half must be odd, .* but is 4: use 5"):
            EntropicPivots(2, 4, n_half=4)

    def test_epsilon_can_be_learned(self):
        coupler = Pivots(2, 4, 8, epsilon=0.5, learn_epsilon=True)
        fixed = Pivots(2, 4, 8, epsilon=0.5)
        fixed.load_state_dict(coupler.state_dict())
        q, k, v = (torch.randn(1, 2, 9, 4) for _ in range(3))
        torch.testing.assert_close(coupler.attend(q, k, v), fixed.attend(q, k, v))
        coupler.attend(q, k, v).square().sum().backward()
        assert coupler.epsilon_logits.grad.abs().min() > 0

"""Sinkhorn attention: against the naive iteration, streamed against dense, gauge and symmetry."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from draws import draw, padding
from monge.errors import CapabilityError, InputError
from monge.nn.couplers import Sinkhorn
from monge.nn.functional import sinkhorn_attention
from monge.testing import LargestTensor

from .oracles import entropic_plan, scores, sinkhorn_matrix

D = torch.float64


@pytest.mark.parametrize("memory", ["dense", "linear"])
class TestSinkhorn:
    @pytest.mark.parametrize("end_on", ["rows", "columns"])
    @pytest.mark.parametrize("n_half", [1, 2, 3, 5, 8])
    @pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 9), (63, 20)])
    def test_equals_the_naive_iteration(self, memory, end_on, n_half, n, m):
        q, k, v = draw(2, n, 4, seed=1), draw(2, m, 4, seed=2), draw(2, m, 3, seed=3)
        out = sinkhorn_attention(q, k, v, n_half=n_half, end_on=end_on, memory=memory)
        expected = sinkhorn_matrix(scores(q, k), n_half, end_on == "rows") @ v
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)

    def test_one_half_step_is_softmax(self, memory):
        q, k, v = (draw(2, 3, 20, 8, seed=i, dtype=torch.float32) for i in range(3))
        out = sinkhorn_attention(q, k, v, n_half=1, memory=memory)
        torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v), rtol=1e-6, atol=1e-6)

    def test_padding_is_absence(self, memory):
        q, k, v = draw(2, 2, 7, 4, seed=1), draw(2, 2, 9, 4, seed=2), draw(2, 2, 9, 3, seed=3)
        masks = {"query_padding": padding(7, 0, 2), "key_padding": padding(9, 4, 0)}
        for end_on in ("rows", "columns"):
            for n_half in (1, 2, 5):
                options = {"n_half": n_half, "end_on": end_on, "memory": memory}
                out = sinkhorn_attention(q, k, v, **masks, **options)
                first = sinkhorn_attention(q[0], k[0, :, :5], v[0, :, :5], **options)
                second = sinkhorn_attention(q[1, :, :5], k[1], v[1], **options)
                torch.testing.assert_close(out[0], first)
                torch.testing.assert_close(out[1, :, :5], second)
                assert (out[1, :, 5:] == 0).all()

    def test_gradients(self, memory):
        masks = {"query_padding": padding(4, 0, 1), "key_padding": padding(5, 2, 0)}
        arguments = [draw(2, 1, size, 3, seed=size + i).requires_grad_() for i, size in enumerate((4, 5, 5))]
        for end_on in ("rows", "columns"):

            def attend(q, k, v, end_on=end_on):
                return sinkhorn_attention(q, k, v, n_half=3, end_on=end_on, memory=memory, **masks)

            assert torch.autograd.gradcheck(attend, arguments, fast_mode=True)

    def test_coupling_has_the_marginal_of_the_last_half_step(self, memory):
        q, k = draw(1, 2, 7, 4, seed=1), draw(1, 2, 9, 4, seed=2)
        rows, _ = Sinkhorn(4, memory=memory)(q, k).marginals()
        torch.testing.assert_close(rows, torch.full_like(rows, 1 / 7))


class TestConvergence:
    def test_tolerance(self):
        q, k = draw(2, 1, 8, 4, seed=1), draw(2, 1, 6, 4, seed=2)
        plan = Sinkhorn(tol=1e-12)(q, k)
        rows, columns = plan.marginals()
        torch.testing.assert_close(rows, torch.full_like(rows, 1 / 8))
        assert (columns - 1 / 6).abs().sum(-1).max() < 1e-11
        expected = entropic_plan(scores(q, k)[0, 0], rows[0, 0], torch.full((6,), 1 / 6, dtype=D))
        torch.testing.assert_close(plan.dense()[0, 0], expected, rtol=1e-8, atol=1e-10)

    def test_streamed_equals_dense_with_its_gradient(self):
        masks = {"query_padding": padding(8, 2, 0), "key_padding": padding(6, 0, 6)}
        arguments = [draw(2, 1, size, 4, seed=size + i).requires_grad_() for i, size in enumerate((8, 6, 6))]
        answers = []
        for memory in ("dense", "linear"):
            out = sinkhorn_attention(*arguments, tol=1e-11, memory=memory, **masks)
            assert (out[1] == 0).all()
            answers.append((out, *torch.autograd.grad(out.square().sum(), arguments)))
        for dense, streamed in zip(*answers, strict=True):
            torch.testing.assert_close(streamed, dense, rtol=1e-6, atol=1e-8)
        q, k, v = (t.detach()[:1] for t in arguments)
        coupler = Sinkhorn(tol=1e-10, memory="linear")
        torch.testing.assert_close(coupler(q, k).barycentric(v), coupler.attend(q, k, v))
        rows, columns = coupler(q, k).marginals()
        torch.testing.assert_close(rows, torch.full_like(rows, 1 / 8))
        torch.testing.assert_close(columns, torch.full_like(columns, 1 / 6), rtol=1e-8, atol=0)

    def test_column_error_decreases(self):
        q, k = draw(1, 1, 30, 4, seed=1, scale=2.0), draw(1, 1, 30, 4, seed=2)
        b = torch.full((30,), 1 / 30, dtype=D)
        errors = []
        for n_half in (1, 3, 5, 9, 21):
            columns = Sinkhorn(n_half)(q, k).marginals()[1][0, 0]
            errors.append(float((b * (b / columns).log()).sum()))
        assert all(first > second for first, second in pairwise(errors))

    def test_symmetric_scores_give_a_symmetric_matrix(self):
        q = draw(1, 1, 9, 4, seed=1)
        plan = Sinkhorn(tol=1e-13)(q, q).dense()
        torch.testing.assert_close(plan, plan.mT, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize(("n_half", "tol"), [(151, None), (5, 1e-13)])
    def test_implicit_gradient(self, n_half, tol):
        arguments = [draw(1, 1, size, 2, seed=size + i).requires_grad_() for i, size in enumerate((4, 5, 5))]
        masks = {"query_padding": padding(4, 1), "key_padding": padding(5, 2)}

        def attend(q, k, v):
            return sinkhorn_attention(q, k, v, n_half=n_half, tol=tol, gradient="implicit", **masks)

        assert torch.autograd.gradcheck(attend, arguments, fast_mode=True)


class TestPairs:
    def test_forbidden_pairs_and_bias(self):
        q, k, v = draw(1, 2, 6, 4, seed=1), draw(1, 2, 6, 4, seed=2), draw(1, 2, 6, 3, seed=3)
        forbidden = torch.zeros(6, 6, dtype=torch.bool)
        forbidden[0, 3:] = forbidden[4, 1] = True
        bias = draw(6, 6, seed=4).masked_fill(forbidden, -torch.inf)
        for pairs, added in ((forbidden, torch.zeros(6, 6, dtype=D).masked_fill(forbidden, -torch.inf)), (bias, bias)):
            out = sinkhorn_attention(q, k, v, pairs=pairs, n_half=7)
            torch.testing.assert_close(out, sinkhorn_matrix(scores(q, k) + added, 7) @ v)

    def test_a_row_without_any_pair_is_zero_and_harmless(self):
        q, k, v = (draw(1, 2, 6, 4, seed=i).requires_grad_() for i in range(3))
        forbidden = torch.zeros(6, 6, dtype=torch.bool)
        forbidden[2] = True
        forbidden[:, 4] = True
        out = sinkhorn_attention(q, k, v, pairs=forbidden)
        assert (out[:, :, 2] == 0).all()
        out.square().sum().backward()
        assert all(t.grad.isfinite().all() for t in (q, k, v))


class TestMemory:
    def test_no_matrix_is_built(self):
        n, d = 3000, 8
        q, k, v = (draw(1, 1, n, d, seed=i, dtype=torch.float32).requires_grad_() for i in range(3))
        with LargestTensor() as largest:
            sinkhorn_attention(q, k, v, n_half=3, memory="linear").sum().backward()
        # One block of rows of the streamed kernels, four megabytes of float32.
        assert largest.numbers <= 2**20


class TestArguments:
    def test_messages(self):
        q, k, v = (draw(1, 4, 3, seed=i) for i in range(3))
        with pytest.raises(InputError, match="n_half must be at least 1"):
            sinkhorn_attention(q, k, v, n_half=0)
        with pytest.raises(InputError, match="end_on='both' is unknown"):
            sinkhorn_attention(q, k, v, end_on="both")
        with pytest.raises(CapabilityError, match="give a tol, or use"):
            sinkhorn_attention(q, k, v, memory="linear", gradient="implicit")
        with pytest.raises(CapabilityError, match="never forms pairs"):
            sinkhorn_attention(q, k, v, memory="linear", pairs=torch.zeros(4, 4))
        with pytest.raises(InputError, match="epsilon must lie in"):
            Sinkhorn(epsilon=0.0)

    def test_epsilon_is_learned(self):
        for memory in ("dense", "linear"):
            coupler = Sinkhorn(3, 0.7, learn_epsilon=True, memory=memory)
            q, k, v = (torch.randn(2, 2, 6, 4) for _ in range(3))
            torch.testing.assert_close(coupler.attend(q, k, v), Sinkhorn(3, 0.7, memory=memory).attend(q, k, v))
            coupler.attend(q, k, v).square().sum().backward()
            assert coupler._epsilon.grad.abs() > 0

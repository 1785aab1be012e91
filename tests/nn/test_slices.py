"""Expected slices: a convex combination of permutations, hard against dense, soft against hard."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import linprog

from draws import draw, padding
from monge.nn.couplers import ExpectedSlices, SoftSlices
from monge.nn.functional import sliced_attention, soft_sliced_attention
from monge.nn.functional.slices import _rank_pieces, _rank_plan
from monge.testing import LargestTensor

from .oracles import rank_plan

D = torch.float64


def combination(q, k, tau):
    """sum_l sigma_l U^l with every permutation matrix written out, for one head of equally many tokens."""
    n, d = q.shape
    x, y = q / math.sqrt(d), k / math.sqrt(d)
    cost = torch.linalg.vector_norm(x[:, None] - y[None], dim=-1)
    plans = []
    for axis in range(d):
        plan = torch.zeros(n, n, dtype=q.dtype)
        plan[x[:, axis].argsort(descending=True), y[:, axis].argsort(descending=True)] = 1 / n
        plans.append(plan)
    costs = torch.stack([(plan * cost).sum() for plan in plans])
    weights = (-tau * costs).softmax(0)
    return sum(weight * plan for weight, plan in zip(weights, plans, strict=True)), costs


class TestHard:
    @pytest.mark.parametrize("tau", [0.0, 1.0, 10.0])
    def test_equals_the_dense_combination(self, tau):
        q, k, v = draw(15, 4, seed=1), draw(15, 4, seed=2), draw(15, 3, seed=3)
        plan, _ = combination(q, k, tau)
        out = sliced_attention(q, k, v, inverse_temperature=tau)
        torch.testing.assert_close(out, 15 * plan @ v, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ExpectedSlices(tau)(q[None], k[None]).dense()[0], plan, rtol=1e-12, atol=1e-14)

    def test_infinite_temperature_takes_the_cheapest_slice(self):
        q, k, v = draw(15, 4, seed=1), draw(15, 4, seed=2), draw(15, 3, seed=3)
        _, costs = combination(q, k, 1.0)
        cheapest = costs.argmin()
        partner = k[:, cheapest].argsort(descending=True)[q[:, cheapest].argsort(descending=True).argsort()]
        torch.testing.assert_close(sliced_attention(q, k, v, inverse_temperature=math.inf), v[partner])

    def test_gradient_reaches_the_costs(self):
        q, k, v = draw(6, 3, seed=1).requires_grad_(), draw(6, 3, seed=2).requires_grad_(), draw(6, 2, seed=3)
        plan, _ = combination(q, k, 2.0)
        out = sliced_attention(q, k, v, inverse_temperature=2.0)
        for ours, theirs in zip(
            torch.autograd.grad(out.square().sum(), (q, k)),
            torch.autograd.grad((6 * plan @ v).square().sum(), (q, k)),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs)

    @pytest.mark.parametrize(("n", "m"), [(5, 8), (12, 4), (7, 7), (1, 3), (9, 1)])
    def test_one_slice_of_unequal_sizes_is_the_optimal_plan_of_the_line(self, n, m):
        q, k = draw(1, n, 1, seed=1), draw(1, m, 1, seed=2)
        plan = ExpectedSlices()(q, k).dense()[0]
        cost = (q[0] - k[0].T).abs()
        rows = torch.kron(torch.eye(n), torch.ones(m)).numpy()
        columns = torch.kron(torch.ones(n), torch.eye(m)).numpy()
        best = linprog(
            cost.flatten().numpy(),
            A_eq=[*rows, *columns],
            b_eq=[1 / n] * n + [1 / m] * m,
        )
        assert (plan * cost).sum().item() == pytest.approx(best.fun, abs=1e-12)
        torch.testing.assert_close(plan.sum(-1), torch.full((n,), 1 / n, dtype=D))
        torch.testing.assert_close(plan.sum(-2), torch.full((m,), 1 / m, dtype=D))

    def test_unequal_padding_keeps_exact_marginals(self):
        q, k = draw(2, 3, 9, 4, seed=1), draw(2, 3, 11, 4, seed=2)
        pad_q, pad_k = padding(9, 3, 0), padding(11, 0, 5)
        plan = ExpectedSlices()(q, k, pad_q[:, 0], pad_k[:, 0])
        rows, columns = plan.marginals()
        torch.testing.assert_close(rows[0], torch.where(pad_q[0], 0.0, 1 / 6).double().expand(3, 9))
        torch.testing.assert_close(columns[1], torch.where(pad_k[1], 0.0, 1 / 6).double().expand(3, 11))

    def test_moving_all_points_together_changes_nothing(self):
        q, k, v, shift = draw(8, 4, seed=1), draw(8, 4, seed=2), draw(8, 3, seed=3), draw(4, seed=4)
        torch.testing.assert_close(sliced_attention(q + shift, k + shift, v), sliced_attention(q, k, v))

    def test_coordinates_may_be_permuted_but_not_turned(self):
        q, k, v = draw(8, 4, seed=1), draw(8, 4, seed=2), draw(8, 3, seed=3)
        out, order = sliced_attention(q, k, v), torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(sliced_attention(q[:, order], k[:, order], v), out)
        turn, _ = torch.linalg.qr(draw(4, 4, seed=5))
        assert (sliced_attention(q @ turn, k @ turn, v) - out).abs().max() > 1e-2

    def test_groups_of_slices_change_nothing(self, monkeypatch):
        from monge.nn.functional import slices

        q, k, v = draw(2, 9, 5, seed=1), draw(2, 7, 5, seed=2), draw(2, 7, 3, seed=3)
        whole = sliced_attention(q, k, v)
        monkeypatch.setattr(slices, "_GROUP", 1)
        torch.testing.assert_close(sliced_attention(q, k, v), whole)

    def test_tiles_of_heads_change_nothing(self, monkeypatch):
        from monge.nn.functional import _bijections

        arguments = [draw(5, 9, 3, seed=seed).requires_grad_() for seed in (1, 2, 3)]
        answers = []
        for tile in (2**20, 1):
            monkeypatch.setitem(_bijections._TILE, "cpu", tile)
            out = sliced_attention(*arguments, query_padding=padding(9, 2)[0], key_padding=padding(9, 2)[0])
            answers.append((out, *torch.autograd.grad(out.square().sum(), arguments)))
        for whole, tiled in zip(*answers, strict=True):
            torch.testing.assert_close(tiled, whole, rtol=1e-12, atol=1e-14)

    def test_gradients_and_their_gradients(self):
        arguments = [draw(2, 5, 3, seed=seed).requires_grad_() for seed in (1, 2, 3)]
        assert torch.autograd.gradcheck(sliced_attention, arguments, fast_mode=True)
        assert torch.autograd.gradgradcheck(sliced_attention, arguments, fast_mode=True)

    def test_points_that_meet_have_no_gradient_of_distance(self):
        q, v = draw(2, 6, 3, seed=1).requires_grad_(), draw(2, 6, 3, seed=3)
        torch.testing.assert_close(sliced_attention(q, q, v), v)
        (slope,) = torch.autograd.grad(sliced_attention(q, q.detach(), v).square().sum(), q)
        assert (slope == 0).all()

    def test_no_heads(self):
        q = torch.zeros(0, 4, 3).requires_grad_()
        out = sliced_attention(q, q, q)
        assert out.shape == (0, 4, 3)
        out.sum().backward()

    def test_memory_is_linear(self):
        n, d = 3000, 8
        q, k, v = (draw(1, 1, n, d, seed=i, dtype=torch.float32).requires_grad_() for i in range(3))
        with LargestTensor() as largest:
            sliced_attention(q, k, v).sum().backward()
        assert largest.numbers <= n * d * d


class TestSoft:
    @pytest.mark.parametrize("softness", [1e-1, 1e-3])
    def test_equals_the_definition(self, softness):
        q, k, tau = draw(15, 4, seed=1), draw(15, 4, seed=2), 2.0
        x, y = q / 2, k / 2
        plans = []
        for axis in range(4):
            u, v = x[:, axis], y[:, axis]
            first, second = (
                (-(side.sort(descending=True).values[:, None] - side).square() / softness).softmax(-1)
                for side in (u, v)
            )
            plans.append(first.T @ second / 15)
        costs = torch.stack([(plan * torch.cdist(x, y)).sum() for plan in plans])
        weights = (-tau * costs).softmax(0)
        expected = sum(weight * plan for weight, plan in zip(weights, plans, strict=True))
        found = SoftSlices(tau, softness)(q[None], k[None]).dense()[0]
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)

    def test_small_softness_is_hard(self):
        q, k, v = draw(2, 9, 4, seed=1), draw(2, 9, 4, seed=2), draw(2, 9, 3, seed=3)
        soft = soft_sliced_attention(q, k, v, softness=1e-9)
        torch.testing.assert_close(soft, sliced_attention(q, k, v), rtol=1e-6, atol=1e-6)
        q, k, v = draw(2, 9, 4, seed=1), draw(2, 6, 4, seed=2), draw(2, 6, 3, seed=3)
        masks = {"query_padding": padding(9, 2, 0)[:, 0], "key_padding": padding(6, 0, 2)[:, 0]}
        soft = soft_sliced_attention(q, k, v, softness=1e-9, **masks)
        torch.testing.assert_close(soft, sliced_attention(q, k, v, **masks), rtol=1e-6, atol=1e-6)

    def test_marginal_error_is_what_soft_sorting_gives(self):
        # Measured in the specification: per cents for t = 1e-3 at 256 tokens, gone at t = 1e-8.
        q, k = draw(1, 256, 16, seed=1, scale=4.0), draw(1, 256, 16, seed=2, scale=4.0)
        errors = [
            float((256 * SoftSlices(0.0, softness=t)(q, k).dense().sum(-2) - 1).abs().max()) for t in (1e-3, 1e-8)
        ]
        assert 0.01 < errors[0] < 0.4
        assert errors[1] < 1e-3

    def test_gradient_reaches_the_order(self):
        q, k, v = draw(1, 1, 5, 2, seed=1).requires_grad_(), draw(1, 1, 5, 2, seed=2), draw(1, 1, 5, 2, seed=3)
        # One slice decides alone: its permutation is all that can move.
        hard = ExpectedSlices(0.0).attend(q, k, v)
        assert not hard.requires_grad or torch.autograd.grad(hard.sum(), q)[0].abs().max() == 0
        soft = SoftSlices(0.0, softness=0.1).attend(q, k, v)
        assert torch.autograd.grad(soft.square().sum(), q)[0].abs().max() > 1e-3

    def test_rank_plan_of_pieces_and_of_overlaps_agree(self):
        for n, m in ((5, 8), (6, 4), (7, 7)):
            i, j, w = _rank_pieces(torch.tensor([n]), torch.tensor([m]), n + 2, m + 1)
            dense = torch.zeros(n + 2, m + 1, dtype=D).index_put_((i, j), w, accumulate=True)
            a = torch.cat([torch.full((n,), 1 / n, dtype=D), torch.zeros(2, dtype=D)])
            b = torch.cat([torch.full((m,), 1 / m, dtype=D), torch.zeros(1, dtype=D)])
            torch.testing.assert_close(dense, rank_plan(a, b))
            torch.testing.assert_close(dense, _rank_plan(torch.tensor([n]), torch.tensor([m]), n + 2, m + 1))


class TestPublishedFaults:
    def test_the_mean_is_not_multiplied_by_n(self):
        q, k = draw(1, 1, 20, 4, seed=1), draw(1, 1, 20, 4, seed=2)
        for coupler in (ExpectedSlices(), SoftSlices()):
            out = coupler.attend(q, k, torch.ones(1, 1, 20, 2, dtype=D))
            torch.testing.assert_close(out, torch.ones_like(out))

    def test_queries_index_the_output(self):
        # The published listing sums over the query index: then the output would follow permuted values instead.
        q, k, v = draw(1, 1, 7, 4, seed=1), draw(1, 1, 7, 4, seed=2), draw(1, 1, 7, 2, seed=3)
        order = torch.tensor([3, 0, 6, 1, 2, 5, 4])
        coupler = ExpectedSlices()
        torch.testing.assert_close(coupler.attend(q[:, :, order], k, v), coupler.attend(q, k, v)[:, :, order])

    def test_temperature_does_not_depend_on_the_number_of_tokens(self):
        # Costs are means over tokens: doubling every token leaves the weights of the slices where they were.
        q, k, v = draw(1, 7, 4, seed=1), draw(1, 7, 4, seed=2), draw(1, 7, 2, seed=3)
        twice = [t.repeat_interleave(2, 1) for t in (q, k, v)]
        out = sliced_attention(q, k, v, inverse_temperature=3.0)
        torch.testing.assert_close(sliced_attention(*twice, inverse_temperature=3.0)[:, ::2], out)

    def test_soft_sorting_holds_one_slice_at_a_time(self):
        n, d = 60, 16
        q, k, v = (draw(1, 1, n, d, seed=i, dtype=torch.float32).requires_grad_() for i in range(3))
        with LargestTensor() as largest:
            soft_sliced_attention(q, k, v).sum().backward()
        assert largest.numbers <= n * n

    def test_half_inputs_do_not_overflow(self):
        q, k, v = (t.half() for t in (draw(1, 1, 9, 4, scale=30.0), draw(1, 1, 9, 4, seed=1), draw(1, 1, 9, 2, seed=2)))
        assert SoftSlices(softness=1e-4).attend(q, k, v).isfinite().all()

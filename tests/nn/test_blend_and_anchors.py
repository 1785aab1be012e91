"""The blend of two couplers; and what an anchor can and cannot see of the scores."""

from __future__ import annotations

import pytest
import torch

from draws import draw
from monge.errors import CapabilityError, InputError
from monge.nn import Attention
from monge.nn.couplers import (
    QR,
    Blend,
    ExpectedSlices,
    Hybrid,
    LinearAttention,
    Luna,
    Pivots,
    Sinkhorn,
    Softmax,
    SoftSlices,
    build,
    names,
    table,
)
from monge.nn.diagnostics import double_center, interaction_rank, marginal_error
from monge.nn.functional import anchored_matrix

from .oracles import scores

D = torch.float64


class TestBlend:
    @pytest.mark.parametrize("second", ["pivots", "sinkhorn", "expected-slices", "linear", "qr", "causal-pivots"])
    def test_ends_are_the_parts_and_rows_stay_one(self, second):
        torch.manual_seed(0)
        one, two = Softmax(), build(second, 2, 4).double()
        blend = Blend(one, two, 2).double()
        q, k, v = (draw(1, 2, 9, 4, seed=i) for i in range(3))
        for gate, part in ((-50.0, one), (50.0, two)):
            with torch.no_grad():
                blend.gate.fill_(gate)
            torch.testing.assert_close(blend.attend(q, k, v), part.attend(q, k, v))
            torch.testing.assert_close(blend(q, k).dense(), part(q, k).dense())
        with torch.no_grad():
            blend.gate.copy_(torch.tensor([-1.0, 2.0]))
        rows, _ = blend(q, k).marginals()
        torch.testing.assert_close(rows, torch.full_like(rows, 1 / 9))

    def test_column_error_shrinks_with_the_gate(self):
        q, k = draw(1, 3, 40, 8, seed=1, scale=2.0), draw(1, 3, 40, 8, seed=2)
        blend = Blend(Softmax(), Pivots(3, 8, 6), 3).double()
        with torch.no_grad():
            blend.gate.copy_(torch.tensor([-2.0, 0.0, 2.0]))
        _, softmax = marginal_error(Softmax()(q, k))
        _, mixed = marginal_error(blend(q, k))
        assert (mixed[0] <= torch.sigmoid(-blend.gate) * softmax[0] + 1e-12).all()

    def test_promises_are_those_of_both(self):
        assert Blend(Pivots(2, 4), ExpectedSlices(), 2).promise.columns == 1e-5
        assert Blend(Softmax(), Pivots(2, 4), 2).promise.columns is None
        assert Blend(Softmax(), Pivots(2, 4), 2).promise.causal == "no"
        assert Blend(Softmax(), LinearAttention(), 2).promise.causal == "optional"
        assert Blend(Softmax(), QR(2, 4), 2).promise.square
        assert Blend(Luna(4), Pivots(2, 4), 2).promise.pairs is False
        with pytest.raises(InputError, match="has no exact row sums"):
            Blend(Softmax(), SoftSlices(), 2)

    def test_gate_starts_where_conversion_wants_it(self):
        attention = Attention(8, 2, build("blend", 2, 4, gate=-4.0))
        softmax = Attention(8, 2, "softmax")
        softmax.load_state_dict(attention.state_dict(), strict=False)
        x = torch.randn(1, 9, 8)
        assert (attention(x)[0] - softmax(x)[0]).abs().max() < 0.05
        attention(x)[0].square().sum().backward()
        assert attention.coupler.gate.grad.abs().min() > 0


class TestHybrid:
    @pytest.mark.parametrize("inner", ["pivots", "expected-slices", "cayley"])
    def test_special_tokens_read_all_and_the_rest_each_other(self, inner):
        torch.manual_seed(0)
        part = build(inner, 2, 4).double()
        hybrid = Hybrid(part, 2)
        q, k, v = (draw(1, 2, 9, 4, seed=i) for i in range(3))
        out = hybrid.attend(q, k, v)
        torch.testing.assert_close(out[:, :, :2], Softmax().attend(q[:, :, :2], k, v))
        torch.testing.assert_close(out[:, :, 2:], part.attend(q[:, :, 2:], k[:, :, 2:], v[:, :, 2:]))
        plan = hybrid(q, k).dense()
        assert (plan[:, :, 2:, :2] == 0).all()
        torch.testing.assert_close(9 * plan @ v, out)

    def test_readable(self):
        torch.manual_seed(0)
        part = build("pivots", 2, 4).double()
        hybrid = Hybrid(part, 1, readable=True)
        q, k, v = (draw(1, 2, 9, 4, seed=i) for i in range(3))
        torch.testing.assert_close(hybrid.attend(q, k, v)[:, :, 1:], part.attend(q[:, :, 1:], k, v))
        torch.testing.assert_close(hybrid(q, k).barycentric(v), hybrid.attend(q, k, v))
        with pytest.raises(InputError, match="cannot read special"):
            Hybrid(QR(2, 4), readable=True)
        with pytest.raises(InputError, match="special must be at least 1"):
            Hybrid(part, 0)

    def test_has_one_padding(self):
        """Tokens are cut out of both sides with the padding of the queries, which would let absent keys be read."""
        q, k, v = (draw(1, 2, 9, 4, seed=i) for i in range(3))
        absent = torch.arange(9)[None] >= 6
        part = build("pivots", 2, 4).double()
        for hybrid in (Hybrid(part, 1), Blend(Softmax(), Hybrid(part, 1), heads=2).double()):
            with pytest.raises(CapabilityError, match="pass key_padding_mask only"):
                hybrid.attend(q, k, v, None, absent)
            with pytest.raises(CapabilityError, match="pass key_padding_mask only"):
                hybrid(q, k, None, absent)
        free = Hybrid(part, 1, readable=True)
        torch.testing.assert_close(free.attend(q, k, torch.ones_like(v), None, absent), torch.ones_like(v))


class TestAnchors:
    """Scores S + alpha 1^T + 1 beta^T: alpha cannot matter to a row anchor, neither can matter to a plan anchor."""

    def shifted(self, q, k, rows, columns):
        """Queries and keys, two dimensions wider, whose scores carry the shifts."""
        ones = torch.ones_like(q[..., :1])
        width = q.shape[-1]
        # Scores are divided by the root of the width, which has grown by two.
        grow = ((width + 2) / width) ** 0.5
        q = torch.cat([q * grow**0.5, rows * ones, ones], -1)
        k = torch.cat([k * grow**0.5, torch.ones_like(k[..., :1]), columns], -1)
        return q, k

    def test_gauge(self):
        q, k = draw(1, 1, 6, 4, seed=1), draw(1, 1, 8, 4, seed=2)
        rows, columns = draw(1, 1, 6, 1, seed=3), draw(1, 1, 8, 1, seed=4)
        none_q, none_k = torch.zeros_like(rows), torch.zeros_like(columns)
        row_shift, both = self.shifted(q, k, rows, none_k), self.shifted(q, k, rows, columns)
        expected = Softmax()(q, k).dense()
        torch.testing.assert_close(Softmax()(*self.shifted(q, k, none_q, none_k)).dense(), expected)
        torch.testing.assert_close(Softmax()(*row_shift).dense(), expected)
        assert (Softmax()(*both).dense() - expected).abs().max() > 1e-3
        plan = Sinkhorn(tol=1e-13)
        torch.testing.assert_close(plan(*both).dense(), plan(q, k).dense(), rtol=1e-8, atol=1e-10)

    def test_every_anchor_and_its_gauge(self):
        s, alpha, beta = draw(2, 6, 8, seed=1), draw(2, 6, 1, seed=2), draw(2, 1, 8, seed=3)
        allowed = torch.ones(6, 8, dtype=torch.bool)
        allowed[2, 3:] = allowed[5, 0] = False
        blind = {"none": (0, 0), "row": (1, 0), "column": (0, 1), "plan": (1, 1)}
        for anchor, (rows, columns) in blind.items():
            matrix = anchored_matrix(s, anchor, allowed=allowed, tol=1e-13)
            assert (matrix[:, ~allowed] == 0).all()
            moved = anchored_matrix(s + rows * alpha + columns * beta, anchor, allowed=allowed, tol=1e-13)
            torch.testing.assert_close(moved, matrix, rtol=1e-8, atol=1e-10)
            for shift in ([] if rows else [alpha]) + ([] if columns else [beta]):
                moved = anchored_matrix(s + shift, anchor, allowed=allowed, tol=1e-13)
                assert (moved - matrix).abs().max() > 1e-2
        plan = anchored_matrix(s, "plan", tol=1e-13)
        torch.testing.assert_close(plan.sum(-1), torch.ones(2, 6, dtype=D))
        torch.testing.assert_close(plan.sum(-2), torch.full((2, 8), 6 / 8, dtype=D))
        torch.testing.assert_close(anchored_matrix(double_center(s), "plan", tol=1e-13), plan, rtol=1e-8, atol=1e-10)
        a, b = draw(6, seed=4).softmax(0), draw(8, seed=5).softmax(0)
        weighted = anchored_matrix(s, "plan", a=a, b=b, tol=1e-13)
        torch.testing.assert_close(weighted.sum(-1), torch.ones(2, 6, dtype=D))
        torch.testing.assert_close(a @ weighted, b.expand(2, 8))

    def test_an_empty_row_is_zero_under_every_anchor(self):
        allowed = torch.ones(4, 4, dtype=torch.bool)
        allowed[1] = False
        for anchor in ("none", "row", "column"):
            assert (anchored_matrix(torch.randn(4, 4), anchor, allowed=allowed)[1] == 0).all()
        with pytest.raises(InputError, match="anchor='both' is unknown"):
            anchored_matrix(torch.randn(4, 4), "both")

    def test_double_centring_is_the_representative(self):
        s = draw(6, 8, seed=1)
        centred = double_center(s)
        torch.testing.assert_close(centred.sum(-1), torch.zeros(6, dtype=D), atol=1e-12, rtol=0)
        torch.testing.assert_close(centred.sum(-2), torch.zeros(8, dtype=D), atol=1e-12, rtol=0)
        torch.testing.assert_close(double_center(s + draw(6, 1, seed=2) + draw(1, 8, seed=3)), centred)
        torch.testing.assert_close(double_center(centred), centred)

        def plan(s):
            from .oracles import entropic_plan

            return entropic_plan(s, torch.full((6,), 1 / 6, dtype=D), torch.full((8,), 1 / 8, dtype=D))

        torch.testing.assert_close(plan(centred), plan(s), rtol=1e-8, atol=1e-12)

    def test_interaction_rank(self):
        q, k = draw(20, 3, seed=1), draw(20, 3, seed=2)
        assert interaction_rank(scores(q, k)) == 3
        assert interaction_rank(scores(q, k) + draw(20, 1, seed=3) + draw(1, 20, seed=4)) == 3
        assert interaction_rank(draw(20, 1, seed=3) + draw(1, 20, seed=4)) == 0


class TestTable:
    def test_every_coupler_has_its_row(self):
        lines = table().splitlines()
        assert len(lines) == len(names()) + 2
        assert len({line.count("|") for line in lines}) == 1
        assert "| `pivots` | rows and columns exact | n r d | n r |" in table()

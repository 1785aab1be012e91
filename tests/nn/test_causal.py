"""Causal balanced attention: streaming, exactness of rows, balance of columns, and what is impossible."""

from __future__ import annotations

import pytest
import torch

from draws import draw
from monge.errors import CapabilityError
from monge.nn import Attention
from monge.nn.couplers import CausalPivots, Softmax
from monge.nn.diagnostics import causal_balance
from monge.nn.functional import harmonic_mass, prefix_pivot_attention, prefix_pivot_step

from .oracles import scores

D = torch.float64


def prefix_matrix(q, k, z, log_mass):
    """sum_t sigma_q(i)_t sigma_k(j)_t / sum_{l <= i} sigma_k(l)_t for j <= i, entry by entry."""
    share_q, share_k = (scores(q, z) + log_mass).softmax(-1), (scores(k, z) + log_mass).softmax(-1)
    n = len(q)
    matrix = torch.zeros(n, n, dtype=q.dtype)
    for i in range(n):
        for j in range(i + 1):
            matrix[i, j] = (share_q[i] * share_k[j] / share_k[: i + 1].sum(0)).sum()
    return matrix


class TestPrefixPivots:
    @pytest.mark.parametrize("n", [1, 7, 40])
    def test_equals_the_definition(self, n):
        q, k, v, z = draw(n, 4, seed=1), draw(n, 4, seed=2), draw(n, 3, seed=3), draw(5, 4, seed=4)
        log_mass = draw(5, seed=5).log_softmax(0)
        matrix = prefix_matrix(q, k, z, log_mass)
        torch.testing.assert_close(matrix.sum(-1), torch.ones(n, dtype=D))
        out = prefix_pivot_attention(q, k, v, z, log_mass=log_mass)
        torch.testing.assert_close(out, matrix @ v, rtol=1e-10, atol=1e-12)

    def test_a_stream_equals_the_whole(self):
        q, k, v, z = draw(2, 3, 300, 4, seed=1), draw(2, 3, 300, 4, seed=2), draw(2, 3, 300, 5, seed=3), draw(3, 6, 4)
        whole = prefix_pivot_attention(q, k, v, z)
        state, pieces = None, []
        for start, stop in ((0, 1), (1, 2), (2, 150), (150, 300)):
            part = (slice(None), slice(None), slice(start, stop))
            out, state = prefix_pivot_step(q[part], k[part], v[part], z, state)
            pieces.append(out)
        torch.testing.assert_close(torch.cat(pieces, 2), whole, rtol=1e-10, atol=1e-12)
        assert state.shape == (2, 3, 6, 6)

    def test_rows_at_any_scale(self):
        # A query on a pivot that no key of its past has touched reads the mean of the past instead of nothing.
        for scale in (1e-3, 1.0, 1e2, 1e4):
            q, k, z = (draw(1, size, 4, seed=i, dtype=torch.float32) for i, size in enumerate((500, 500, 6)))
            out = prefix_pivot_attention(scale * q, scale * k, torch.ones(1, 500, 1), z)
            assert (out - 1).abs().max() < 1e-5

    def test_the_first_position_reads_itself(self):
        q, k, v, z = (draw(1, size, 4, seed=i) for i, size in enumerate((9, 9, 9, 6)))
        torch.testing.assert_close(prefix_pivot_attention(q, k, v, z)[:, 0], v[:, 0])

    def test_padding_before_and_after(self):
        q, k, v = draw(1, 2, 9, 4, seed=1), draw(1, 2, 9, 4, seed=2), draw(1, 2, 9, 3, seed=3)
        coupler = CausalPivots(2, 4, 5).double()
        for pad in (torch.arange(9) < 3, torch.arange(9) >= 6):
            with pytest.raises(CapabilityError, match="pass key_padding_mask only"):
                coupler.attend(q, k, v, None, pad[None])
            both = pad[None]
            out = coupler.attend(q, k, v, both, both)
            expected = coupler.attend(q[:, :, ~pad], k[:, :, ~pad], v[:, :, ~pad])
            torch.testing.assert_close(out[:, :, ~pad], expected)
            assert (out[:, :, pad] == 0).all()


class TestBalance:
    def test_harmonic_mass_is_that_of_uniform_causal_attention(self):
        uniform = torch.ones(7, 7, dtype=D).tril()
        uniform = uniform / uniform.sum(-1, keepdim=True)
        torch.testing.assert_close(harmonic_mass(7, dtype=D), uniform.sum(0))
        assert harmonic_mass(1).item() == 1.0

    def test_diagnosis(self):
        q = torch.zeros(1, 1, 20, 4, dtype=D)
        for coupler in (Softmax(), CausalPivots(1, 4, 3).double()):
            worst, mean = causal_balance(coupler(q, q, causal=True))
            assert worst.max() < 1e-9
            assert mean.max() < 1e-9
        sink = draw(1, 1, 20, 4, seed=1)
        sink[..., 0, :] = 9.0
        assert causal_balance(Softmax()(sink.abs(), sink, causal=True))[0] > 0.5

    def test_more_balanced_than_softmax_on_sharp_scores(self):
        torch.manual_seed(0)
        q, k = draw(1, 1, 200, 16, seed=1, scale=3.0), draw(1, 1, 200, 16, seed=2, scale=3.0)
        _, ours = causal_balance(CausalPivots(1, 16, 16).double()(q, k))
        _, theirs = causal_balance(Softmax()(q, k, causal=True))
        assert ours < theirs


class TestImpossible:
    @pytest.mark.parametrize("name", ["pivots", "sinkhorn", "expected-slices", "qr", "cayley", "entropic-pivots"])
    def test_strict_causal_double_stochasticity_is_refused_with_its_reason(self, name):
        attention = Attention(8, 2, name)
        with pytest.raises(CapabilityError, match=r"lower-triangular matrix .* is the identity.*causal-pivots"):
            attention(torch.randn(1, 5, 8), is_causal=True)

    def test_the_reason(self):
        # Row by row: the first row takes all of the first column, and so on.
        matrix, used = torch.zeros(5, 5), torch.zeros(5)
        for i in range(5):
            matrix[i, : i + 1] = (1 - used)[: i + 1]
            used = matrix.sum(0)
            assert matrix[i].sum() == 1
        assert torch.equal(matrix, torch.eye(5))

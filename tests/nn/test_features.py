"""Linear attention: kernels, their special cases, streams, lookups."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from draws import draw
from monge.errors import CapabilityError, InputError
from monge.nn.couplers import Kernel, LinearAttention, Luna, Performer
from monge.nn.features import EluFeatures, FeatureMap, LunaFeatures, PerformerFeatures
from monge.nn.functional import elu_features, feature_attention, feature_step, linear_attention, softmax_attention
from monge.testing import LargestTensor

D = torch.float64


def dense(phi_q, phi_k, causal=False):
    kernel = phi_q @ phi_k.mT
    kernel = kernel.tril() if causal else kernel
    return kernel / kernel.sum(-1, keepdim=True)


class TestLinear:
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("n", [1, 63, 128, 300])
    def test_equals_the_dense_kernel(self, n, causal):
        q, k, v = (draw(2, n, 5, seed=i) for i in range(3))
        out = linear_attention(q, k, v, causal=causal)
        torch.testing.assert_close(out, dense(F.elu(q) + 1, F.elu(k) + 1, causal) @ v, rtol=1e-10, atol=1e-10)

    def test_a_stream_equals_the_whole(self):
        q, k, v = (draw(2, 50, 5, seed=i) for i in range(3))
        whole = linear_attention(q, k, v, causal=True)
        phi_q, phi_k, state, pieces = elu_features(q), elu_features(k), None, []
        for start, stop in ((0, 1), (1, 2), (2, 30), (30, 50)):
            piece = slice(start, stop)
            out, state = feature_step(phi_q[:, piece], phi_k[:, piece], v[:, piece], state)
            pieces.append(out)
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-10, atol=1e-12)
        assert state.shape == (2, 5, 6)

    def test_rows_sum_to_one_in_both_directions(self):
        q, k = draw(1, 2, 40, 5, seed=1), draw(1, 2, 40, 5, seed=2)
        for causal in (False, True):
            rows, _ = LinearAttention()(q, k, causal=causal).marginals()
            torch.testing.assert_close(rows, torch.full_like(rows, 1 / 40), rtol=1e-10, atol=0)

    def test_causal_coupling_and_its_transpose(self):
        plan = LinearAttention()(draw(1, 2, 20, 5, seed=1), draw(1, 2, 20, 5, seed=2), causal=True)
        matrix, v = plan.dense(), draw(1, 2, 20, 3, seed=3)
        torch.testing.assert_close(plan @ v, matrix @ v)
        torch.testing.assert_close(plan.T @ v, matrix.mT @ v)
        torch.testing.assert_close(plan.T.dense(), matrix.mT)
        torch.testing.assert_close(plan.rows([3, 17]), matrix[..., [3, 17], :])
        torch.testing.assert_close(plan[0].dense(), matrix[0])


class TestPerformer:
    def test_approximates_softmax(self):
        q, k, v = (draw(1, 1, 30, 8, seed=i, scale=0.7) for i in range(3))
        expected = softmax_attention(q, k, v)
        errors = []
        for size in (32, 4096):
            coupler = Performer(8, size, generator=torch.Generator().manual_seed(0))
            errors.append(float((coupler.attend(q, k, v) - expected).abs().mean()))
        assert errors[1] < 0.02
        assert errors[1] < errors[0]

    def test_rows_of_the_projection_are_orthogonal_with_gaussian_lengths(self):
        features = PerformerFeatures(16, 40, generator=torch.Generator().manual_seed(0))
        for start in (0, 16):
            block = F.normalize(features.projection[start : start + 16], dim=-1)
            torch.testing.assert_close(block @ block.T, torch.eye(16), atol=1e-5, rtol=0)
        assert features.projection.norm(dim=-1).mean().item() == pytest.approx(math.sqrt(16), rel=0.1)
        assert PerformerFeatures(16).projection.shape == (round(16 * math.log(16)), 16)

    def test_redraw(self):
        features = PerformerFeatures(8, 16)
        before = features.projection.clone()
        features.redraw(torch.Generator().manual_seed(1))
        again = features.projection.clone()
        features.redraw(torch.Generator().manual_seed(1))
        assert not torch.equal(before, again)
        assert torch.equal(features.projection, again)

    def test_padding_does_not_enter_the_stabiliser(self):
        # Zero keys have features too; and their exponent, zero, may be the largest of all.
        q, k, v = draw(1, 2, 9, 8, seed=1), draw(1, 2, 9, 8, seed=2, scale=5.0), draw(1, 2, 9, 3, seed=3)
        pad = torch.arange(9)[None] >= 6
        coupler = Performer(8, 16)
        torch.testing.assert_close(coupler.attend(q, k, v, None, pad), coupler.attend(q, k[:, :, :6], v[:, :, :6]))

    def test_cannot_be_causal(self):
        x = draw(1, 2, 9, 8)
        with pytest.raises(CapabilityError, match="largest exponent of all keys"):
            Performer(8, 16).attend(x, x, x, causal=True)


class TestLuna:
    @pytest.mark.parametrize("output", ["relu", "softplus"])
    @pytest.mark.parametrize("separate", [False, True])
    def test_lookup_equals_the_network(self, output, separate):
        torch.manual_seed(0)
        features = LunaFeatures(8, 5, 3, hidden=16, output=output, separate=separate).double()
        with torch.no_grad():
            features.slope[0, :2] = 0.0
            features.slope[0, 3] = features.slope[0, 4]
            features.shift[0, 3] = features.shift[0, 4]
        t = draw(2, 200, 5, scale=4.0)
        torch.testing.assert_close(features.lookup(t), features.network(t), rtol=1e-10, atol=1e-10)

    def test_lookup_has_the_gradient_of_the_network(self):
        torch.manual_seed(0)
        features = LunaFeatures(8, 5, 3, hidden=16).double()
        t, grads = draw(2, 50, 5).requires_grad_(), []
        for form in (features.network, features.lookup):
            leaves = (t, features.slope, features.shift, features.mix, features.offset)
            grads.append(torch.autograd.grad(form(t).square().sum(), leaves))
        for network, lookup in zip(*grads, strict=True):
            torch.testing.assert_close(lookup, network, rtol=1e-9, atol=1e-9)

    def test_a_stream_equals_the_whole_and_the_dense_kernel(self):
        coupler = Luna(8, projections=5, channels=3, hidden=16).double()
        q, k, v = (draw(2, 40, 8, seed=i) for i in range(3))
        phi_q, phi_k, state, pieces = coupler.features.map(q), coupler.features.map(k), None, []
        for start, stop in ((0, 1), (1, 17), (17, 40)):
            piece = slice(start, stop)
            out, state = feature_step(phi_q[:, piece], phi_k[:, piece], v[:, piece], state)
            pieces.append(out)
        whole = coupler.attend(q[:, None], k[:, None], v[:, None], causal=True)[:, 0]
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(whole, dense(phi_q, phi_k, causal=True) @ v, rtol=1e-10, atol=1e-12)

    def test_no_token_is_without_features(self):
        features = LunaFeatures(8, 5, 3, hidden=16)
        with torch.no_grad():
            features.offset.fill_(-1e3)
        coupler = Luna(8)
        coupler.features = features
        q, k, v = (draw(1, 1, 9, 8, seed=i, dtype=torch.float32) for i in range(3))
        torch.testing.assert_close(coupler.attend(q, k, v), v.mean(-2, keepdim=True).expand_as(v))

    def test_kernel_is_positive_semidefinite(self):
        phi = Luna(8).double().features.map(draw(30, 8))
        assert torch.linalg.eigvalsh(phi @ phi.T).min() > -1e-10

    def test_no_hidden_layer_per_token(self):
        features = LunaFeatures(8, 4, 2, hidden=64)
        x = torch.randn(5000, 8, requires_grad=True)
        with LargestTensor() as largest:
            features.map(x).sum().backward()
        assert largest.numbers <= 5000 * 8

    def test_cosines_with_random_phases_are_fourier_features(self):
        class Cosine(FeatureMap):
            def __init__(self, size):
                super().__init__()
                self.weight, self.phase = draw(size, 4, seed=1), 2 * math.pi * torch.rand(size, dtype=D)

            def map(self, x):
                return (2 / len(self.phase)) ** 0.5 * torch.cos(x @ self.weight.T + self.phase)

        x, y = draw(20, 4, seed=2), draw(20, 4, seed=3)
        phi_x, phi_y = Cosine(20000)(x, y, None)
        gaussian = torch.exp(-(torch.cdist(x, y) ** 2) / 2)
        assert (phi_x @ phi_y.T - gaussian).abs().max() < 0.05

    def test_exponentials_under_an_envelope_are_performers(self):
        size, x, y = 50000, draw(20, 4, seed=2, scale=0.4), draw(20, 4, seed=3, scale=0.4)
        weight = draw(size, 4, seed=1)

        def phi(x):
            return size**-0.5 * torch.exp(x @ weight.T - (x * x).sum(-1, keepdim=True) / 2)

        torch.testing.assert_close(phi(x) @ phi(y).T, torch.exp(x @ y.T), rtol=0.2, atol=0.1)

    def test_messages(self):
        with pytest.raises(InputError, match="output='gelu' is unknown"):
            LunaFeatures(8, output="gelu")
        with pytest.raises(InputError, match="must be positive"):
            LunaFeatures(8, 0)


class TestKernel:
    def test_takes_any_feature_map(self):
        class Exponential(FeatureMap):
            def map(self, x):
                return torch.cat([x.exp(), (-x).exp()], -1)

        q, k, v = (draw(1, 2, 9, 4, seed=i) for i in range(3))
        phi_q, phi_k = Exponential()(q, k, None)
        torch.testing.assert_close(Kernel(Exponential()).attend(q, k, v), dense(phi_q, phi_k) @ v)
        torch.testing.assert_close(Kernel(EluFeatures()).attend(q, k, v), LinearAttention().attend(q, k, v))

    def test_a_denominator_of_zero_is_no_nan(self):
        out = feature_attention(torch.zeros(3, 2), torch.ones(4, 2), torch.ones(4, 1))
        torch.testing.assert_close(out, torch.zeros(3, 1))

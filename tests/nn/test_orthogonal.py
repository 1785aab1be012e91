"""Orthogonal couplers: facts about U∘U, and what each construction can and cannot see."""

from __future__ import annotations

import math

import pytest
import torch

from draws import draw
from monge.errors import CapabilityError, InputError, ShapeError
from monge.nn.couplers import QR, Cayley, Circuit
from monge.nn.functional import cayley_matrix, circuit_matrix, qr_matrix

D = torch.float64


def doubly_stochastic(matrix, tol):
    assert (matrix >= 0).all()
    assert (matrix.sum(-1) - 1).abs().max() < tol
    assert (matrix.sum(-2) - 1).abs().max() < tol


class TestQR:
    def test_is_the_squared_factor(self):
        q, k = draw(6, 8, seed=1), draw(6, 8, seed=2)
        matrix = q @ k.T / math.sqrt(8)
        u = torch.linalg.qr(matrix)[0]
        torch.testing.assert_close(qr_matrix(q, k, shift=0.0), u * u)

    def test_the_coupler_squares_the_factor_of_shifted_scores(self):
        q, k = draw(1, 1, 6, 3, seed=1), draw(1, 1, 6, 3, seed=2)
        scores = q[0, 0] @ k[0, 0].T / math.sqrt(3)
        u = torch.linalg.qr(scores + 1.75 * torch.eye(6, dtype=D))[0]
        matrix = 6 * QR(1, 3, shift=1.75).double()(q, k).dense()[0, 0]
        torch.testing.assert_close(matrix, u * u)
        doubly_stochastic(matrix, 1e-12)

    def test_columns_may_be_scaled_but_their_order_matters(self):
        q, k = draw(6, 8, seed=1), draw(6, 8, seed=2)
        out = qr_matrix(q, k, shift=0.0)
        scaled = qr_matrix(q, k * torch.tensor([2.0, -1.0, 0.5, 3.0, -7.0, 1.0])[:, None], shift=0.0)
        torch.testing.assert_close(scaled, out)
        order = torch.tensor([5, 3, 1, 0, 2, 4])
        torch.testing.assert_close(qr_matrix(q[order], k, shift=0.0), out[order])
        assert (qr_matrix(q, k[order], shift=0.0) - out[:, order]).abs().max() > 1e-2

    def test_more_tokens_than_dimensions(self):
        # Q K^T has rank d: without a shift trailing columns are arbitrary and their derivative does not exist.
        q, k = (draw(40, 4, seed=i, dtype=torch.float32).requires_grad_() for i in (1, 2))
        matrix = qr_matrix(q, k)
        doubly_stochastic(matrix, 1e-5)
        (matrix * draw(40, 40, dtype=torch.float32)).sum().backward()
        assert q.grad.isfinite().all()
        assert q.grad.abs().max() < 1e3

    def test_padded_tokens_attend_to_themselves(self):
        q, k = draw(6, 4, seed=1), draw(6, 4, seed=2)
        pad = torch.tensor([False, False, True, False, True, False])
        for make in (qr_matrix, cayley_matrix):
            matrix = make(q, k, padding=pad)
            torch.testing.assert_close(matrix[pad], torch.eye(6, dtype=D)[pad])
            torch.testing.assert_close(matrix[~pad][:, ~pad], make(q[~pad], k[~pad]))


class TestCayley:
    def test_is_the_transform(self):
        q, k = draw(6, 4, seed=1), draw(6, 4, seed=2)
        scores = q @ k.T / 2
        skew = (scores - scores.T) / 2
        o = torch.linalg.inv(torch.eye(6, dtype=D) + skew) @ (torch.eye(6, dtype=D) - skew)
        torch.testing.assert_close(o @ o.T, torch.eye(6, dtype=D))
        torch.testing.assert_close(cayley_matrix(q, k), o * o)

    def test_equivariance(self):
        q, k = draw(6, 4, seed=1), draw(6, 4, seed=2)
        order = torch.tensor([5, 3, 1, 0, 2, 4])
        torch.testing.assert_close(cayley_matrix(q[order], k[order]), cayley_matrix(q, k)[order][:, order])

    def test_symmetric_scores_give_the_identity_unless_they_drift(self):
        q = draw(6, 4, seed=1)
        torch.testing.assert_close(cayley_matrix(q, q), torch.eye(6, dtype=D))
        mixed = cayley_matrix(q, q, drift=draw(6, seed=2))
        doubly_stochastic(mixed, 1e-12)
        assert mixed.diagonal().max() < 0.999
        assert (Cayley(1, 4).double()(q[None], q[None]).dense() * 6).diagonal(dim1=-2, dim2=-1).max() < 0.999

    @pytest.mark.parametrize("scale", [1e-4, 1.0, 1e2, 1e4])
    def test_exact_at_any_scale(self, scale):
        q, k = (draw(3, 64, 8, seed=i, dtype=torch.float32, scale=scale**0.5) for i in (1, 2))
        doubly_stochastic(cayley_matrix(q, k), 1e-5)
        doubly_stochastic(qr_matrix(q, k), 1e-5)


class TestCircuit:
    def angles(self, t, layers, a, seed=0):
        return (
            draw(layers, a, t - 1, 2, seed=seed),
            draw(layers, a, t, 2, seed=seed + 1),
            draw(layers, a - 1, t, seed=seed + 2),
        )

    @pytest.mark.parametrize(
        ("n", "t", "layers", "a"), [(8, 8, 16, 1), (5, 8, 6, 3), (1, 4, 2, 2), (3, 3, 5, 2), (2, 2, 1, 4)]
    )
    def test_doubly_stochastic_for_every_parameter(self, n, t, layers, a):
        matrix = circuit_matrix(draw(2, n, 4, seed=5), draw(2, n, 4, seed=6), *self.angles(t, layers, a))
        assert matrix.shape == (2, n, n)
        doubly_stochastic(matrix, 1e-12)

    def test_against_the_unitary_written_out(self):
        # Gate by gate with complex matrices, for three tokens without auxiliary states.
        q, k = draw(3, 4, seed=5), draw(3, 4, seed=6)
        rotations, phases, mixing = self.angles(3, 4, 1)
        scores, u = q @ k.T / 2, torch.eye(3, dtype=torch.complex128)
        for layer in range(4):
            seen = torch.stack([scores[i, (i + layer + 1) % 3] for i in range(3)])
            for i in range(layer % 2, 2, 2):
                theta, phi = rotations[layer, 0, i]
                angle = theta * seen[i] + phi
                gate = torch.eye(3, dtype=torch.complex128)
                gate[i, i], gate[i, i + 1] = angle.cos(), -angle.sin()
                gate[i + 1, i], gate[i + 1, i + 1] = angle.sin(), angle.cos()
                u = gate @ u
            u = torch.diag(torch.exp(1j * (phases[layer, 0, :, 0] * seen + phases[layer, 0, :, 1]))) @ u
        torch.testing.assert_close(circuit_matrix(q, k, rotations, phases, mixing), u.abs().square())

    def test_scores_matter_and_layers_reach_everywhere(self):
        angles = self.angles(8, 16, 1)
        first = circuit_matrix(draw(8, 4, seed=5), draw(8, 4, seed=6), *angles)
        second = circuit_matrix(draw(8, 4, seed=5), draw(8, 4, seed=7), *angles)
        assert (first - second).abs().max() > 1e-2
        assert first.min() > 0

    def test_too_many_tokens(self):
        with pytest.raises(ShapeError, match="holds 4 tokens, but there are 5"):
            circuit_matrix(draw(5, 4), draw(5, 4), *self.angles(4, 2, 1))
        with pytest.raises(InputError, match="must be positive"):
            Circuit(2, 4, 0)


class TestOneSequence:
    @pytest.mark.parametrize(("kind", "options"), [(QR, {}), (Cayley, {}), (Circuit, {"tokens": 6, "layers": 2})])
    def test_two_paddings_are_refused(self, kind, options):
        coupler = kind(2, 4, **options)
        x = torch.randn(1, 2, 6, 4)
        pad = torch.zeros(1, 6, dtype=torch.bool)
        with pytest.raises(CapabilityError, match="pass key_padding_mask only"):
            coupler.attend(x, x, x, None, pad)

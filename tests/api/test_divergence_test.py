"""The permutation test and the standard error of the divergence: definition, batches, calibration."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import monge
from draws import cloud, draw, generator
from monge.errors import InputError
from monge.solver import Newton

TIGHT = Newton(tol=1e-10)


def rejections(shift: float, trials: int, seed: int) -> float:
    chance = generator(seed)
    x, y = (torch.randn(trials, 15, 2, generator=chance) for _ in range(2))
    found = monge.divergence_test(x, y + shift, permutations=19, epsilon=1.0, generator=chance)
    return float((found.p_value <= 0.1).double().mean())


def test_the_divergence_is_that_of_the_samples() -> None:
    x, y = draw(3, 12, 2), draw(9, 2, seed=1) + 0.5
    found = monge.divergence_test(x, y, permutations=0, epsilon=0.5, cost="euclidean", solver=TIGHT)
    torch.testing.assert_close(found.divergence, monge.divergence(x, y, epsilon=0.5, cost="euclidean", solver=TIGHT))
    assert torch.equal(found.p_value, torch.ones(3, dtype=torch.float64))
    pooled = torch.cat([x[0], y])
    epsilon = 0.1 * float(torch.cdist(pooled, pooled).square().mean())
    relative = monge.divergence_test(x[0], y, permutations=0, epsilon=monge.relative(0.1), solver=TIGHT)
    torch.testing.assert_close(relative.divergence, monge.divergence(x[0], y, epsilon=epsilon, solver=TIGHT))


def test_the_standard_error_is_that_of_leaving_one_out() -> None:
    x, y = cloud(80), cloud(70, 2, 1) + 1
    found = monge.divergence_test(x, y, permutations=0, epsilon=1.0, solver=TIGHT)

    def spread(points: Tensor, first: bool) -> Tensor:
        n = len(points)
        a = (1 - torch.eye(n, dtype=torch.float64)) / (n - 1)
        batch = points.expand(n, n, 2)
        left = (monge.divergence(batch, y, a, epsilon=1.0, solver=TIGHT) if first
                else monge.divergence(x, batch, None, a, epsilon=1.0, solver=TIGHT))  # fmt: skip
        return (n - 1) / n * (left - left.mean()).square().sum()

    torch.testing.assert_close(found.standard_error, (spread(x, True) + spread(y, False)).sqrt(), rtol=0.03, atol=0)


def test_permutations_mix_both_samples_whatever_the_memory() -> None:
    x, y = draw(2, 6, 2), draw(2, 5, 2, seed=1) + 3
    answers = [
        monge.divergence_test(x, y, permutations=7, epsilon=1.0, max_bytes=size, generator=generator(3), solver=TIGHT)
        for size in (1, 2**27)
    ]
    torch.testing.assert_close(answers[0].permuted, answers[1].permuted)
    assert answers[0].permuted.shape == (2, 7)
    pooled = torch.cat([x, y], -2)
    order = torch.rand(7, 2, 11, generator=generator(3), dtype=torch.float64).argsort(-1)
    mixed = pooled[1][order[4, 1]]
    expected = monge.divergence(mixed[:6], mixed[6:], epsilon=1.0, solver=TIGHT)
    torch.testing.assert_close(answers[1].permuted[1, 4], expected)
    assert (answers[0].p_value == 1 / 8).all()


def test_different_laws_are_told_apart_and_equal_ones_are_not() -> None:
    assert rejections(1.5, 20, 0) == 1.0
    assert rejections(0.0, 40, 1) < 0.3


@pytest.mark.slow
def test_the_level_of_the_test_is_what_it_says() -> None:
    """600 pairs of samples of one law: a tenth is rejected, to five standard deviations."""
    assert abs(rejections(0.0, 600, 2) - 0.1) < 5 * (0.09 / 600) ** 0.5


@pytest.mark.slow
def test_the_standard_error_is_calibrated() -> None:
    chance = generator(0)
    x, y = (torch.randn(400, 100, 2, generator=chance, dtype=torch.float64) for _ in range(2))
    found = monge.divergence_test(x, y[:, :60] * 1.3 + 1.0, permutations=0, epsilon=1.0)
    ratio = found.standard_error.square().mean().sqrt() / found.divergence.std()
    assert 0.85 < ratio < 1.15


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"permutations": -1}, "permutations must be an integer, at least 0"),
        ({"epsilon": 0.0}, "use wasserstein"),
        ({"max_bytes": 0}, "max_bytes must lie in"),
        ({"y": cloud(1)}, "at least two points"),
    ],
)
def test_errors_say_what_to_do(options: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        monge.divergence_test(**{"x": cloud(4), "y": cloud(5)} | options)

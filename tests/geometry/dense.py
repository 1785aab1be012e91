"""Dense formulas that every geometry is compared with, and a geometry that writes the least it may."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge._value import value
from monge.geometry import Geometry
from monge.testing._cost_questions import inner, mean, plan, sinkhorn, softmin


@value
class Bare(Geometry):
    """Only `_block` and `_transpose`: everything else is inherited."""

    cost: Tensor

    def _block(self, rows):
        return self.cost[..., rows, :]

    def _transpose(self):
        return Bare(self.cost.mT)


def questions(shape: tuple[int, ...], n: int, m: int, dtype=torch.float64, seed: int = 0) -> dict[str, Tensor]:
    """Potentials, log weights and values of a batch shape."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return torch.randn(*shape, *size, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "f": 0.3 * draw(n),
        "g": 0.3 * draw(m),
        "log_a": draw(n).log_softmax(-1),
        "log_b": draw(m).log_softmax(-1),
        "v": draw(m, 3),
    }


def assert_answers(geometry: Geometry, cost: Tensor, epsilon=0.7, tolerance: float = 1e-10) -> None:
    """Every question that ``geometry`` answers, against the dense formulas on ``cost``."""
    n, m = cost.shape[-2:]
    assert geometry.shape == (n, m)
    assert geometry.batch_shape == cost.shape[:-2]
    assert geometry.dtype == cost.dtype
    ask = questions(cost.shape[:-2], n, m, cost.dtype)
    f, g, log_a, log_b, v = ask["f"], ask["g"], ask["log_a"], ask["log_b"], ask["v"]
    wide = torch.as_tensor(epsilon, dtype=cost.dtype)
    close = {"rtol": tolerance, "atol": tolerance * max(1.0, float(cost[cost < math.inf].abs().max()))}
    torch.testing.assert_close(geometry.dense(), cost, **close)
    torch.testing.assert_close(geometry.T.dense(), cost.mT, **close)
    assert geometry.T.shape == (m, n)
    some = torch.arange(n - 1, -1, -2)
    torch.testing.assert_close(geometry.block(some), cost[..., some, :], **close)
    torch.testing.assert_close(geometry.block(slice(0, None, 2)), cost[..., ::2, :], **close)
    torch.testing.assert_close(geometry._softmin(g, log_b, epsilon), softmin(cost, g, log_b, wide), **close)
    torch.testing.assert_close(geometry.T._softmin(f, log_a, epsilon), softmin(cost.mT, f, log_a, wide), **close)
    row, col = log_a + f / wide[..., None], log_b + g / wide[..., None]
    torch.testing.assert_close(geometry._apply(row, col, v, epsilon), plan(cost, row, col, wide) @ v, **close)
    torch.testing.assert_close(geometry._apply(None, col, v, epsilon), plan(cost, None, col, wide) @ v, **close)
    torch.testing.assert_close(geometry._inner(row, col, epsilon), inner(cost, row, col, wide), **close)
    reduced = cost - g[..., None, :]
    best, where = geometry._ctransform(g)
    torch.testing.assert_close(best, reduced.amin(-1), **close)
    torch.testing.assert_close(reduced.gather(-1, where[..., None])[..., 0], reduced.amin(-1), **close)
    k = min(3, m)
    least, where = geometry._top_k(g, k)
    torch.testing.assert_close(least, reduced.sort(-1).values[..., :k], **close)
    torch.testing.assert_close(reduced.gather(-1, where), least, **close)
    for found, wanted in zip(
        geometry._sinkhorn(g, log_a, log_b, epsilon), sinkhorn(cost, g, log_a, log_b, wide), strict=True
    ):
        torch.testing.assert_close(found, wanted, **close)
    generator = torch.Generator().manual_seed(5)
    i, j = torch.randint(n, (11,), generator=generator), torch.randint(m, (11,), generator=generator)
    torch.testing.assert_close(geometry._entries(i, j), cost[..., i, j], **close)
    i = torch.randint(n, (*cost.shape[:-2], 11), generator=generator)
    j = torch.randint(m, (*cost.shape[:-2], 11), generator=generator)
    wanted = cost.reshape(*cost.shape[:-2], -1).gather(-1, i * m + j)
    torch.testing.assert_close(geometry._entries(i, j), wanted, **close)
    a, b = log_a.exp(), log_b.exp()
    torch.testing.assert_close(geometry.mean(a, b), mean(cost, a, b), **close)
    torch.testing.assert_close(geometry.mean(), mean(cost, torch.ones_like(a), torch.ones_like(b)), **close)
    factors = geometry.factors()
    if factors is not None:
        torch.testing.assert_close(factors[0] @ factors[1].mT, cost, **close)


def smooth_answers(geometry: Geometry, ask: dict[str, Tensor], epsilon=0.7) -> Tensor:
    """One number that depends smoothly on everything: its derivatives check those of every question."""
    row, col = ask["log_a"] + ask["f"] / epsilon, ask["log_b"] + ask["g"] / epsilon
    i = torch.arange(min(geometry.shape))
    return (
        geometry._softmin(ask["g"], ask["log_b"], epsilon).sin().sum()
        + geometry._apply(row, col, ask["v"], epsilon).sin().sum()
        + geometry._apply(None, col, ask["v"], epsilon).sin().sum()
        + geometry._inner(row, col, epsilon).sum()
        + geometry._ctransform(ask["g"])[0].sin().sum()
        + geometry._entries(i, i.flip(0)).sin().sum()
        + geometry.mean(ask["log_a"].exp(), ask["log_b"].exp()).sum()
    )

"""Bijections of clouds without a matrix: against SciPy, with a certificate over all pairs."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monge.errors import InputError, ShapeError
from monge.kernels import _extension, bijection

needs_native = pytest.mark.skipif(not _extension.AVAILABLE, reason="the native kernels are not built")

_SHARES = [0.5, 0.2, 0.15, 0.1, 0.05]


class Largest(TorchDispatchMode):
    """The most entries of any tensor that an operation makes."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.entries = max([self.entries, *(t.numel() for t in tree_leaves(made) if isinstance(t, torch.Tensor))])
        return made


def normal(seed: int, n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def integers(seed: int, n: int, d: int, high: int) -> torch.Tensor:
    return torch.randint(0, high, (n, d), generator=torch.Generator().manual_seed(seed)).double()


def clusters(seed: int, n: int, d: int, shares: list[float]) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    centres = normal(1000, 5, d)
    return centres[torch.multinomial(torch.tensor(shares), n, True, generator=source)] + 1e-3 * normal(seed + 1, n, d)


def heavy(seed: int, n: int, d: int) -> torch.Tensor:
    return normal(seed, n, d) / normal(seed + 7, n, 1).abs()


def draws(n: int, d: int, seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Clouds for which prices are hard to find, ties are many, or single precision does not resolve the points."""
    x, y = normal(seed, n, d), 1.2 * normal(seed + 1, n, d) + 0.5
    outlier = x.clone()
    outlier[0] = 1e4
    return {
        "gauss": (x, y),
        "grid": (integers(seed, n, d, 4), integers(seed + 1, n, d, 4)),
        "duplicates": (x[:5].repeat(n // 5 + 1, 1)[:n], y),
        "permuted": (x, x.flip(0)),
        "all equal": (x, torch.ones_like(x)),
        "one place": (torch.ones_like(x), torch.ones_like(x)),
        "line": (x[:, :1].expand(n, d), y[:, :1].expand(n, d)),
        "far": (x, y + 1e3),
        "offset": (x + 1e7, y + 1e7),
        "tiny": (x * 1e-9, y * 1e-9),
        "huge": (x * 1e60, y * 1e60),
        "scales": (x, y * 100),
        "outlier": (outlier, y),
        "clusters": (clusters(seed, n, d, _SHARES), clusters(seed + 3, n, d, _SHARES[::-1])),
        "heavy": (heavy(seed, n, d), heavy(seed + 2, n, d)),
    }


def check(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether there was an answer; if so it is optimal, and its potentials are feasible for every pair."""
    found = bijection(x, y)
    if found is None:
        return False
    n, cost = len(x), (x[:, None] - y).square().sum(-1)
    assert torch.equal(found.perm.sort().values, torch.arange(n))
    scale = float(cost.max()) + float(found.f.abs().max()) + float(found.g.abs().max())
    slack = cost - found.f[:, None] - found.g
    assert float(slack.min()) >= -1e-12 * scale
    i, j = linear_sum_assignment(cost.numpy())
    best, value = float(cost[i, j].sum()), float(cost.gather(1, found.perm[:, None]).sum())
    assert value == pytest.approx(best, rel=1e-12, abs=1e-13 * n * scale)
    # The dual value is that of the plan: nothing is claimed that the potentials do not prove.
    assert float(found.f.sum() + found.g.sum()) == pytest.approx(value, rel=1e-12, abs=1e-13 * n * scale)
    return True


@needs_native
@pytest.mark.parametrize("d", [1, 2, 3, 4, 16])
def test_answers_are_optimal_and_proved_over_all_pairs(d: int) -> None:
    for n in (2, 3, 33, 150):
        for name, clouds in draws(n, d, n + d).items():
            solved = check(*clouds)
            assert solved or name != "gauss" or n < 150


@needs_native
@pytest.mark.slow
def test_ten_thousand_instances_are_optimal_or_given_up() -> None:
    total = solved = 0
    for seed in range(10**4):
        cases = list(draws(8 + seed % 57, 1 + seed % 6, seed).values())
        total += 1
        solved += check(*cases[seed % len(cases)])
    assert solved > total / 2


def test_the_reference_is_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_extension, "AVAILABLE", False)
    for clouds in draws(20, 2, 0).values():
        assert check(*clouds) or clouds[0].eq(1).all()


@needs_native
def test_memory_of_tensors_stays_linear() -> None:
    n = 3000
    for d in (2, 8):
        with Largest() as seen:
            assert bijection(normal(0, n, d), normal(1, n, d)) is not None
        assert seen.entries < n * n / 4


@pytest.mark.parametrize(
    ("x", "y", "error"),
    [
        (torch.zeros(3, 2), torch.zeros(4, 2), ShapeError),
        (torch.zeros(3, 2), torch.zeros(3, 1), ShapeError),
        (torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), ShapeError),
        (torch.full((3, 2), math.nan), torch.zeros(3, 2), InputError),
        (torch.zeros(3, 2), torch.full((3, 2), math.inf), InputError),
    ],
)
def test_wrong_clouds_are_refused(x: torch.Tensor, y: torch.Tensor, error: type[Exception]) -> None:
    with pytest.raises(error):
        bijection(x, y)


def test_what_has_no_answer_here_is_given_up() -> None:
    for n in (0, 1):
        assert bijection(torch.zeros(n, 2), torch.zeros(n, 2)) is None
    assert bijection(torch.full((3, 2), 1e150, dtype=torch.float64), torch.zeros(3, 2).double()) is None

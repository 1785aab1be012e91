"""All pairs: the same numbers as one by one, within a bound of memory."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import monge
from monge.errors import DtypeError, InputError, ShapeError
from monge.kernels import exact
from monge.kernels.exact.simplex import native
from monge.solver import Simplex, Sinkhorn

pairwise_module = importlib.import_module("monge.api.pairwise")


def clouds(sizes: tuple[int, ...], d: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64) + k / 3 for k, n in enumerate(sizes)]


def weighted(sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.rand(n, generator=generator, dtype=torch.float64) for n in sizes]
    return [(x, a / a.sum()) for x, a in zip(clouds(sizes), drawn, strict=True)]


SIZES = (5, 7, 5, 1, 7, 5)


@pytest.mark.parametrize("max_bytes", [1, 2**16, 2**27])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_wasserstein_equals_a_loop(max_bytes: int, p: float) -> None:
    mixed = [*clouds(SIZES), *weighted((5, 6))]
    found = monge.pairwise(mixed, p=p, max_bytes=max_bytes)
    plain = [(one, None) if isinstance(one, Tensor) else one for one in mixed]
    for (i, (x, a)), (j, (y, b)) in itertools.product(enumerate(plain), enumerate(plain)):
        expected = monge.wasserstein(x, y, a, b, p=p)
        torch.testing.assert_close(found[i, j], expected, rtol=1e-9, atol=1e-12)
    assert (found.diagonal() == 0).all()
    torch.testing.assert_close(found, found.T, rtol=0, atol=0)


def test_two_lists() -> None:
    left, right = clouds((4, 6, 4)), weighted((6, 4))
    found = monge.pairwise(left, right)
    assert found.shape == (3, 2)
    for (i, x), (j, (y, b)) in itertools.product(enumerate(left), enumerate(right)):
        torch.testing.assert_close(found[i, j], monge.wasserstein(x, y, None, b), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("epsilon", [0.3, monge.relative(0.1)])
def test_divergence_equals_a_loop(epsilon: object) -> None:
    measures = [*clouds((6, 8, 6)), *weighted((8,))]
    solver = Sinkhorn(tol=1e-9)
    found = monge.pairwise(measures, metric="divergence", epsilon=epsilon, solver=solver)
    if not isinstance(epsilon, float):
        pooled = torch.cat([*clouds((6, 8, 6)), weighted((8,))[0][0]])
        shares = torch.cat([*(torch.full((n,), 1 / n).double() for n in (6, 8, 6)), weighted((8,))[0][1]]) / 4
        epsilon = 0.1 * float(shares @ torch.cdist(pooled, pooled).square() @ shares)
    plain = [(one, None) if isinstance(one, Tensor) else one for one in measures]
    for (i, (x, a)), (j, (y, b)) in itertools.product(enumerate(plain), enumerate(plain)):
        expected = monge.divergence(x, y, a, b, epsilon=epsilon, solver=solver)
        torch.testing.assert_close(found[i, j], expected, rtol=1e-6, atol=1e-7)
    across = monge.pairwise(measures[:2], measures[2:], metric="divergence", epsilon=epsilon, solver=solver)
    torch.testing.assert_close(across, found[:2, 2:], rtol=1e-6, atol=1e-7)


def test_entropic_plans_have_a_diagonal() -> None:
    found = monge.pairwise(clouds((5, 5)), epsilon=0.5)
    assert (found.diagonal() > 0.05).all()


def test_a_tensor_is_a_list_of_clouds() -> None:
    x = torch.stack(clouds((6, 6, 6)))
    torch.testing.assert_close(monge.pairwise(x), monge.pairwise(list(x)), rtol=0, atol=0)


def test_a_function_may_be_the_metric() -> None:
    calls = []

    def means(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        calls.append(len(x))
        centres = (a[..., None] * x).sum(-2), (b[..., None] * y).sum(-2)
        return (centres[0] - centres[1]).norm(dim=-1)

    measures = clouds((5, 7, 5, 7))
    found = monge.pairwise(measures, metric=means)
    centres = torch.stack([x.mean(0) for x in measures])
    torch.testing.assert_close(found, torch.cdist(centres, centres), rtol=1e-9, atol=1e-7)
    assert sum(calls) == 10  # the upper half with its diagonal
    assert len(calls) == 3  # pairs (5, 5), (5, 7) and (7, 7)


def test_memory_of_a_batch_is_bounded() -> None:
    sizes: list[tuple[int, ...]] = []

    def metric(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        sizes.append(tuple(x.shape))
        return x.sum((-1, -2)) - y.sum((-1, -2)) + 0 * (a.sum(-1) + b.sum(-1))

    monge.pairwise(torch.zeros(12, 50, 3), metric=metric, max_bytes=2**18)
    assert max(8 * k * 50 * 50 for k, *_ in sizes) <= 2**18
    assert sum(k for k, *_ in sizes) == 78


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    monge.pairwise(clouds((4, 4, 9)), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (3, 3)]


def test_progress_may_be_drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # so that standard error counts as a terminal
    monge.pairwise(clouds((4, 4)), progress=True)
    told = capsys.readouterr()
    assert told.out == ""
    assert "pairs" in told.err
    monge.pairwise(clouds((4, 4)))
    assert not capsys.readouterr().out


def test_gradients_reach_the_clouds() -> None:
    measures = [x.requires_grad_() for x in clouds((4, 3, 4))]
    assert torch.autograd.gradcheck(lambda *given: monge.pairwise(given).square().sum(), tuple(measures))


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda x: monge.pairwise([]), InputError, "at least one"),
        (lambda x: monge.pairwise(x[0]), ShapeError, "put a single cloud into a list"),
        (lambda x: monge.pairwise([x[0], x[1][:, 0]]), ShapeError, r"measures\[1\]"),
        (lambda x: monge.pairwise([x[0], x[1][:, :1]]), ShapeError, "dimension 2 and measures"),
        (lambda x: monge.pairwise([x[0], x[1] > 0]), DtypeError, "floating-point"),
        (lambda x: monge.pairwise(x, [x[0][:, :1]]), ShapeError, "one space"),
        (lambda x: monge.pairwise([(x[0], x[0][:, 0] * 0)]), InputError, "positive mass"),
        (lambda x: monge.pairwise([(x[0], None, None)]), InputError, "tuple of 3"),
        (lambda x: monge.pairwise(x, metric="emd"), InputError, "'emd' is unknown"),
        (lambda x: monge.pairwise(x, metric="divergence"), InputError, "epsilon must be positive"),
        (lambda x: monge.pairwise(x, metric=lambda *_: 0.0), ShapeError, "one number for each"),
        (lambda x: monge.pairwise(x, metric=lambda *_: 0.0, solver=Simplex()), InputError, "inside your function"),
        (lambda x: monge.pairwise(x, max_bytes=0), InputError, "max_bytes"),
    ],
)
def test_errors_say_what_to_do(call, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        call(clouds((4, 5)))


def test_ragged_measures_are_solved_in_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[int] = []
    solve = native.simplex

    def counted(pairs: Any, a: Tensor, *others: Any) -> native.Solved:
        problems.append(len(a))
        return solve(pairs, a, *others)

    few = exact.small

    def counted_few(cost: Any, a: Tensor, *others: Any) -> Any:
        problems.append(a.shape[:-1].numel())
        return few(cost, a, *others)

    monkeypatch.setattr(native, "simplex", counted)
    monkeypatch.setattr(exact, "small", counted_few)
    measures = [*clouds(tuple(range(33, 60, 2)), d=20), *weighted((5, 6, 7))]
    measures = [*measures[:14], *((x.repeat(1, 10), a) for x, a in measures[14:])]  # type: ignore[misc]
    found = monge.pairwise(measures)
    assert sum(problems) == 17 * 16 / 2
    assert len(problems) == 3  # both large, both small, one of each
    plain = [(one, None) if isinstance(one, Tensor) else one for one in measures]
    for i, j in ((0, 13), (3, 16), (15, 16), (7, 8)):
        (x, a), (y, b) = plain[i], plain[j]
        torch.testing.assert_close(found[i, j], monge.wasserstein(x, y, a, b), rtol=1e-9, atol=1e-12)


def test_sizes_with_much_work_have_calls_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise_module, "_OWN_CALL", 8 * 8 * 3)
    told: list[int] = []
    # Alone: three pairs (8, 8), six pairs (5, 8). Joined: (6, 8) and (7, 8); (5, 5), (5, 6), (5, 7) and (6, 7).
    monge.pairwise(clouds((8, 8, 8, 5, 5, 6, 7)), progress=lambda done, total: told.append(done))
    assert told == [3, 9, 15, 21]


@pytest.mark.parametrize("others", [None, (6, 4)])
def test_work_that_stopped_goes_on(others: tuple[int, ...] | None, tmp_path: Path) -> None:
    left, right = weighted(SIZES), None if others is None else weighted(others)
    kept, done = tmp_path / "distances.npy", []

    def stop(told: int, total: int) -> None:
        done.append(told)
        if len(done) == 3:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"max_bytes": 1, "into": kept}
    with pytest.raises(KeyboardInterrupt):
        monge.pairwise(left, right, progress=stop, **options)
    expected = monge.pairwise(left, right)
    half = np.load(kept)
    found = ~np.isnan(half)
    assert found.sum() == (3 if others else 6)
    np.testing.assert_allclose(half[found], expected.numpy()[found], rtol=1e-9)
    # What the file holds is not computed again: a number that is changed there stays.
    i, j = (int(k) for k in np.argwhere(found)[0])
    writable = np.load(kept, mmap_mode="r+")
    writable[i, j] = 7
    writable.flush()
    again = monge.pairwise(left, right, into=kept)
    assert again[i, j] == 7
    again[i, j] = expected[i, j]
    torch.testing.assert_close(again, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(np.isnan(np.load(kept)), False)
    assert list(tmp_path.iterdir()) == [kept]
    torch.testing.assert_close(monge.pairwise(left, right, into=str(kept))[i, j], again.new_tensor(7))


def test_killed_work_goes_on(tmp_path: Path) -> None:
    code = """
import os, sys, numpy as np, monge
x = [np.random.default_rng(k).normal(size=(5 + k % 3, 2)) for k in range(8)]
told = []
def tell(done, total):
    told.append(done)
    if sys.argv[2] == "die" and len(told) == 5:
        os.kill(os.getpid(), 9)
print(monge.pairwise(x, epsilon=0.5, max_bytes=1, into=sys.argv[1], progress=tell).sum())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "D.npy")]
    assert subprocess.run([*command, "die"], check=False).returncode == -9
    assert 0 < np.isnan(np.load(tmp_path / "D.npy")).sum() < 64
    assert subprocess.run([*command, "live"], check=False).returncode == 0
    x = [np.random.default_rng(k).normal(size=(5 + k % 3, 2)) for k in range(8)]
    np.testing.assert_allclose(np.load(tmp_path / "D.npy"), monge.pairwise(x, epsilon=0.5), rtol=1e-6)


def test_a_file_of_other_work_is_refused(tmp_path: Path) -> None:
    x, kept = clouds((4, 5)), tmp_path / "D.npy"
    monge.pairwise(x, into=kept)
    for call in (
        lambda: monge.pairwise(x, p=1.0, into=kept),
        lambda: monge.pairwise(x, epsilon=0.1, into=kept),
        lambda: monge.pairwise(x, x, into=kept),
        lambda: monge.pairwise([2 * x[0], x[1]], into=kept),
        lambda: monge.pairwise(x, metric=lambda x, y, a, b: x.sum((-1, -2)), into=kept),
    ):
        with pytest.raises(InputError, match="other measures or options"):
            call()
    (tmp_path / "short.npy").write_bytes(b"")
    for name, told in (("short.npy", "made by something else"), ("D.txt", "must end in .npy"), ("no/D.npy", "make it")):
        with pytest.raises(InputError, match=told):
            monge.pairwise(x, into=tmp_path / name)
    with pytest.raises(InputError, match="detach the measures"):
        monge.pairwise([one.requires_grad_() for one in x], into=tmp_path / "E.npy")
    assert not (tmp_path / "E.npy").exists()


def test_a_file_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    x, kept = clouds((4, 5)), tmp_path / "D.npy"

    def again(done: int, total: int) -> None:
        with pytest.raises(InputError, match="in use by another run"):
            monge.pairwise(x, into=kept)

    monge.pairwise(x, into=kept, progress=again)
    assert not np.isnan(np.load(kept)).any()


def test_one_measure_alone() -> None:
    assert monge.pairwise(clouds((4,))).tolist() == [[0.0]]
    assert monge.pairwise(clouds((4,)), epsilon=0.5).item() > 0


def test_filled_measures_have_the_gradients_of_each_alone() -> None:
    given = [(x, a) for x, a in weighted((5, 7, 6))]
    leaves = [tuple(t.clone().requires_grad_() for t in one) for one in given]
    (monge.pairwise(leaves, p=1.0) * torch.arange(9.0).reshape(3, 3)).sum().backward()  # type: ignore[arg-type]
    singly = [tuple(t.clone().requires_grad_() for t in one) for one in given]
    total = torch.zeros((), dtype=torch.float64)
    for i, j in itertools.combinations(range(3), 2):
        (x, a), (y, b) = singly[i], singly[j]
        total = total + (3 * i + j + 3 * j + i) * monge.wasserstein(x, y, a, b, p=1.0)
    total.backward()
    for (x, a), (y, b) in zip(leaves, singly, strict=True):
        torch.testing.assert_close(x.grad, y.grad)
        # A derivative by weights is known up to what no change of equal masses sees.
        torch.testing.assert_close(a.grad - a.grad.mean(), b.grad - b.grad.mean())

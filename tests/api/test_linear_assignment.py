"""Matching one to one: SciPy's answers, gates, dustbins, padding, batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import monge
from draws import draw, generator
from monge.errors import DtypeError, InfeasibleError, InputError, ShapeError
from sweep import sweep


def best_with_dustbin(cost: Tensor, unmatched: float) -> set[tuple[int, int]]:
    """By SciPy, on the matrix with one dustbin for every row and one for every column."""
    n, m = cost.shape
    whole = np.full((n + m, n + m), np.inf)
    whole[:n, :m] = cost
    whole[np.arange(n), m + np.arange(n)] = unmatched
    whole[n + np.arange(m), np.arange(m)] = unmatched
    whole[n:, m:] = 0.0
    row, col = linear_sum_assignment(whole)
    return {(i, j) for i, j in zip(row, col, strict=True) if i < n and j < m}


@sweep(150, slow=5000)
def test_scipy_on_any_shape_with_gates(seeds: range) -> None:
    for seed in seeds:
        chance = generator(seed)
        n, m = (int(torch.randint(1, 12, (), generator=chance)) for _ in range(2))
        n, m = ((n, 9 * m), (9 * n, m), (n, m))[seed % 3]
        cost = torch.randn(n, m, generator=chance, dtype=torch.float64)
        allowed = torch.rand(n, m, generator=chance) < 0.7
        maximize = seed % 2 == 1
        gated = cost.masked_fill(~allowed, -math.inf if maximize else math.inf)
        for given, options, seen in ((cost, {}, cost), (gated, {}, gated), (cost, {"allowed": allowed}, gated)):
            try:
                row, col = linear_sum_assignment(seen.numpy(), maximize=maximize)
            except ValueError:
                with pytest.raises(InfeasibleError, match="by unmatched="):
                    monge.linear_assignment(given, maximize=maximize, **options)
                continue
            found = monge.linear_assignment(given, maximize=maximize, **options)
            assert found.row.tolist() == row.tolist(), seed
            assert found.col.tolist() == col.tolist(), seed
        # The dustbin, and as many pairs as the gate allows.
        sign, bin_cost = (-1.0 if maximize else 1.0), float(torch.randn((), generator=chance)) / 2
        pairs = best_with_dustbin(sign * gated, bin_cost)
        found = monge.linear_assignment(cost, maximize=maximize, allowed=allowed, unmatched=sign * bin_cost)
        assert set(zip(found.row.tolist(), found.col.tolist(), strict=True)) == pairs, seed
        pairs = best_with_dustbin(sign * gated, 1e4)
        found = monge.linear_assignment(gated, maximize=maximize, unmatched=sign * math.inf)
        assert set(zip(found.row.tolist(), found.col.tolist(), strict=True)) == pairs, seed


@sweep(40, slow=1000)
def test_batches_and_padding_are_loops(seeds: range) -> None:
    for seed in seeds:
        chance = generator(seed)
        n, m = (int(torch.randint(1, 9, (), generator=chance)) for _ in range(2))
        m = 6 * m if seed % 4 == 0 else m
        cost = torch.randn(2, 3, n, m, generator=chance)
        row_padding = torch.rand(2, 3, n, generator=chance) < 0.3
        col_padding = torch.rand(3, m, generator=chance) < 0.3
        paddings = {"row_padding": row_padding, "col_padding": col_padding}
        for unmatched in (None, 0.1, torch.randn(3, generator=chance), math.inf):
            together = monge.linear_assignment(cost, unmatched=unmatched, **paddings)
            counts = []
            for index in np.ndindex(2, 3):
                rows, cols = (~row_padding[index]).nonzero()[:, 0], (~col_padding[index[1]]).nonzero()[:, 0]
                own = unmatched[index[1]] if isinstance(unmatched, Tensor) else unmatched
                row, col = monge.linear_assignment(cost[index][rows][:, cols], unmatched=own)
                counts.append(len(row))
                left = together.row.shape[-1] - len(row)
                assert together.row[index].tolist() == rows[row].tolist() + [-1] * left, (seed, unmatched)
                assert together.col[index].tolist() == cols[col].tolist() + [-1] * left, (seed, unmatched)
            assert together.row.shape == (2, 3, max(counts))


def test_few_rows_and_many_columns_stay_small() -> None:
    cost = draw(5, 20_000)
    row, col = monge.linear_assignment(cost)
    assert col.tolist() == linear_sum_assignment(cost.numpy())[1].tolist()
    assert monge.linear_assignment(cost.T).col.tolist() == row[col.argsort()].tolist()


def test_a_pair_is_worth_it_below_twice_the_dustbin() -> None:
    cost = torch.tensor([[1.0, 5.0], [5.0, 2.0]])
    assert monge.linear_assignment(cost, unmatched=0.5).row.tolist() == []
    assert monge.linear_assignment(cost, unmatched=0.75).row.tolist() == [0]
    assert monge.linear_assignment(cost, unmatched=1.5).row.tolist() == [0, 1]
    # Keypoint matchers: scores, of which a dustbin has one too.
    assert monge.linear_assignment(-cost, maximize=True, unmatched=-0.75).row.tolist() == [0]


def test_integers_halves_and_nothing() -> None:
    cost = torch.tensor([[4, 1, 3], [2, 0, 5], [3, 2, 2]])
    assert monge.linear_assignment(cost).col.tolist() == [1, 0, 2]
    assert monge.linear_assignment(cost.bfloat16()).col.tolist() == [1, 0, 2]
    row, col = monge.linear_assignment(cost > 2, maximize=True)
    assert int((cost > 2)[row, col].sum()) == 2
    for shape in ((0, 3), (3, 0), (0, 0)):
        row, col = monge.linear_assignment(torch.zeros(shape), unmatched=1.0)
        assert row.shape == col.shape == (0,)
        assert monge.linear_assignment(torch.zeros(2, *shape)).row.shape == (2, 0)


def test_the_sum_of_the_costs_has_the_matching_as_its_derivative() -> None:
    cost = draw(4, 6).requires_grad_()
    row, col = monge.linear_assignment(cost)
    (gradient,) = torch.autograd.grad(cost[row, col].sum(), cost)
    assert gradient.nonzero().tolist() == torch.stack([row, col], -1).tolist()


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda c: monge.linear_assignment(c[0]), ShapeError, "cost must have shape"),
        (lambda c: monge.linear_assignment(c.tolist()), DtypeError, "cost must be a torch.Tensor of real numbers"),
        (lambda c: monge.linear_assignment(c * math.nan), InputError, "write inf to forbid"),
        (lambda c: monge.linear_assignment(c - math.inf), InputError, "neither NaN nor -inf"),
        (lambda c: monge.linear_assignment(c + math.inf, maximize=True), InputError, "write -inf to forbid"),
        (lambda c: monge.linear_assignment(c, allowed=c > math.inf), InfeasibleError, "a partner for every point"),
        (lambda c: monge.linear_assignment(c, allowed=c[:, :2] > 0), ShapeError, "allowed must have shape"),
        (lambda c: monge.linear_assignment(c, row_padding=torch.ones(3)), DtypeError, "row_padding must be boolean"),
        (lambda c: monge.linear_assignment(c, unmatched=math.nan), InputError, "unmatched must be a number"),
        (lambda c: monge.linear_assignment(c, unmatched=torch.ones(2)), ShapeError, "cost and unmatched"),
    ],
)
def test_errors_say_what_to_do(call, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        call(draw(3, 4))


def test_numpy_comes_back_as_numpy_and_integers_stay_exact():
    cost = np.array([[2**50 + 1, 2**50], [2**50, 2**50 + 3]])
    row, col = monge.linear_assignment(cost)
    assert isinstance(row, np.ndarray)
    assert row.tolist() == [0, 1]
    assert col.tolist() == [1, 0]
    _, gated = monge.linear_assignment(cost, allowed=np.eye(2, dtype=bool))
    assert gated.tolist() == [0, 1]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("shape", [(1, 1), (7, 30), (30, 7), (40, 40)])
def test_a_narrow_gate_gives_what_dustbins_give(shape: tuple[int, int], share: float) -> None:
    """Pairs that are sure are taken first; the whole must cost what the matrix with a dustbin for each point costs."""
    generator = torch.Generator().manual_seed(int(100 * share) + shape[0])
    n, m = shape
    cost = torch.rand(6, n, m, generator=generator, dtype=torch.float64)
    allowed = torch.rand(6, n, m, generator=generator) < share
    absent = torch.rand(6, n, generator=generator) < 0.2
    row, col = monge.linear_assignment(cost, allowed=allowed, row_padding=absent, unmatched=0.3)
    for k in range(6):
        i, j = row[k][row[k] >= 0], col[k][col[k] >= 0]
        assert len(i) == len(j) == len(i.unique()) == len(j.unique())
        assert bool(allowed[k][i, j].all())
        assert not bool(absent[k][i].any())
        gate = allowed[k] & ~absent[k][:, None]
        wide = torch.full((n + m, n + m), 1e3, dtype=torch.float64)
        wide[:n, :m] = cost[k].masked_fill(~gate, 1e3)
        wide[range(n), range(m, m + n)] = 0.3
        wide[range(n, n + m), range(m)] = 0.3
        wide[n:, m:] = 0.0
        least = float(wide[linear_sum_assignment(wide.numpy())].sum())
        assert float(cost[k][i, j].sum()) + 0.3 * (n + m - 2 * len(i)) == pytest.approx(least, abs=1e-12)

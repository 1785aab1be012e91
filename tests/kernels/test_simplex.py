"""The network simplex against linear programmes and its own certificate, on random and on awkward problems."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from draws import generator
from monge.errors import InfeasibleError, InputError, NotConvergedError, ShapeError
from monge.kernels import Basis, Matrix, Points, _extension, simplex
from monge.kernels.exact.simplex import reference
from sweep import sweep

RULES = [(2, 2), (2, 1), (1, 1), (1, 2), (3, 1.5), (math.inf, 1), (math.inf, 2), (2, 3.0), (1.5, 1.5)]


def certify(cost, a, b, basis: Basis) -> float:
    """The value of a plan, once marginals, size, feasibility and complementary slackness have been checked."""
    i, j, w, f, g = basis
    scale, mass = float(cost[cost.isfinite()].abs().max()), float(a.sum())
    plan = torch.zeros(cost.shape, dtype=torch.float64).index_put_((i, j), w, accumulate=True)
    assert (w > 0).all()
    assert len(w) <= int((a > 0).sum() + (b > 0).sum()) - 1
    assert (plan.sum(1) - a).abs().max() <= 1e-14 * mass
    assert (plan.sum(0) - b).abs().max() <= 1e-14 * mass
    reduced = cost - f[:, None] - g
    assert reduced.min() >= -1e-13 * scale
    assert reduced[i, j].abs().max() <= 1e-13 * scale
    value, dual = float(w @ cost[i, j]), float(a @ f + b @ g)
    assert abs(value - dual) <= 1e-12 * scale * mass
    assert abs(float(a @ f) - float(b @ g)) <= 1e-12 * scale * mass
    return value


def linear_programme(cost, a, b) -> float:
    rows, columns = a > 0, b > 0
    pairs = Matrix(cost[rows][:, columns])
    _, i, j, w, _, _ = reference.programme(pairs, a[rows], b[columns])
    return float(w @ pairs.cost[i, j])


def weights(kind: str, n: int, seed: int):
    rng = generator(seed)
    if kind == "uniform":
        return torch.ones(n, dtype=torch.float64)
    if kind == "integer":
        return torch.randint(1, 4, (n,), generator=rng).double()
    drawn = torch.rand(n, dtype=torch.float64, generator=rng)
    if kind == "sparse":
        drawn[1:] *= torch.rand(n - 1, generator=rng) < 0.6
    return drawn


@pytest.mark.parametrize("kind", ["uniform", "integer", "random", "sparse"])
@pytest.mark.parametrize("values", ["random", "integer", "constant"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (12, 12), (9, 21), (40, 33)])
def test_optimal(kind, values, shape):
    n, m = shape
    a, b = weights(kind, n, 1), weights(kind, m, 2)
    b = b * (a.sum() / b.sum())
    cost = torch.rand(n, m, dtype=torch.float64, generator=generator(3)) - 0.3
    if values == "integer":
        cost = torch.randint(-2, 4, (n, m), generator=generator(3)).double()
    if values == "constant":
        cost = torch.full((n, m), 2.5, dtype=torch.float64)
    value = certify(cost, a, b, simplex(cost, a, b))
    assert value == pytest.approx(linear_programme(cost, a, b), rel=1e-9, abs=1e-11 * float(a.sum()))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("whole", [True, False])
def test_points_are_priced_like_their_matrix(rule, whole):
    p, power = rule
    x = torch.randint(0, 5, (35, 3), generator=generator(0)).double()
    y = torch.randint(0, 5, (50, 3), generator=generator(1)).double()
    if not whole:
        x, y = x + torch.rand(35, 3, generator=generator(2)), y * 1.5
    points = Points(x, y, p=p, power=power)
    a, b = weights("sparse", 35, 4), weights("sparse", 50, 5)
    b = b * (a.sum() / b.sum())
    cost = points.block(slice(None))
    value = certify(cost, a, b, simplex((x, y, p, power), a, b))
    assert value == pytest.approx(certify(cost, a, b, simplex(cost, a, b)), rel=1e-11)
    assert value == pytest.approx(linear_programme(cost, a, b), rel=1e-9)


@pytest.mark.parametrize("dimension", [1, 2, 31, 100])
def test_dot_products_and_dimensions(dimension):
    x = torch.randn(63, dimension, dtype=torch.float64, generator=generator(0))
    y = torch.randn(65, dimension, dtype=torch.float64, generator=generator(1))
    a, b = torch.full((63,), 1 / 63, dtype=torch.float64), torch.full((65,), 1 / 65, dtype=torch.float64)
    b = b * (a.sum() / b.sum())
    for points in (Points(x, y, "dot"), Points(x, y)):
        cost = points.block(slice(None))
        value = certify(cost, a, b, simplex(points, a, b))
        assert value == pytest.approx(linear_programme(cost, a, b), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e8, 1e30])
@pytest.mark.parametrize("mass", [1e-12, 1.0, 1e9])
def test_scales(scale, mass):
    x = torch.rand(20, 2, dtype=torch.float64, generator=generator(0))
    y = torch.rand(30, 2, dtype=torch.float64, generator=generator(1))
    a, b = weights("random", 20, 2), weights("random", 30, 3)
    a, b = a / a.sum(), b / b.sum()
    cost = torch.cdist(x, y)
    expected = certify(cost, a, b, simplex(cost, a, b))
    value = certify(cost * scale, a * mass, b * mass, simplex(cost * scale, a * mass, b * mass))
    assert value == pytest.approx(expected * scale * mass, rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_small_assignments_by_enumeration(data):
    n = data.draw(st.integers(1, 6))
    cost = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(-3, 3), min_size=n, max_size=n), min_size=n, max_size=n))
    ).double()
    a = torch.ones(n, dtype=torch.float64)
    basis = simplex(cost, a, a)
    best = min(sum(float(cost[k, s]) for k, s in enumerate(sigma)) for sigma in itertools.permutations(range(n)))
    assert certify(cost, a, a, basis) == best
    # Uniform masses: a vertex is a permutation, and integer costs have integer differences of potentials.
    assert sorted(basis.j.tolist()) == list(range(n))
    steps = basis.f - basis.f[0]
    assert float((steps - steps.round()).abs().max()) < 1e-12


def test_duplicated_points():
    x = torch.zeros(40, 2, dtype=torch.float64)
    y = torch.rand(3, 2, dtype=torch.float64, generator=generator(0)).repeat(20, 1)
    a, b = torch.full((40,), 1 / 40, dtype=torch.float64), torch.full((60,), 1 / 60, dtype=torch.float64)
    cost = Points(x, y).block(slice(None))
    assert certify(cost, a, b, simplex(Points(x, y), a, b)) == pytest.approx(float(cost.mean()), rel=1e-12)
    same = simplex((x, x, 2, 2), a, a)
    assert float(same.f.abs().max()) == float(same.g.abs().max()) == 0


def test_forbidden_pairs():
    cost = torch.rand(30, 30, dtype=torch.float64, generator=generator(0))
    cost[torch.rand(30, 30, generator=generator(1)) < 0.7] = math.inf
    cost.diagonal().copy_(torch.rand(30, generator=generator(2)) + 3)
    a = weights("random", 30, 3)
    value = certify(cost, a, a, simplex(cost, a, a))
    assert value == pytest.approx(linear_programme(cost, a, a), rel=1e-9)


def test_blocks_that_cannot_meet():
    cost = torch.rand(12, 12, dtype=torch.float64, generator=generator(0))
    cost[:5, 5:] = math.inf
    cost[5:, :5] = math.inf
    a = torch.ones(12, dtype=torch.float64)
    basis = simplex(cost, a, a)
    assert certify(cost, a, a, basis) == pytest.approx(linear_programme(cost, a, a), rel=1e-9)
    assert basis.f.abs().max() < 20  # no trace of the price of an artificial arc


def test_infeasible():
    a = torch.ones(3, dtype=torch.float64)
    cost = torch.zeros(3, 3, dtype=torch.float64)
    cost[:2, 1:] = math.inf
    with pytest.raises(InfeasibleError, match="infinite cost"):
        simplex(cost, a, a)
    with pytest.raises(InfeasibleError, match="infinite cost"):
        simplex(torch.full((3, 3), math.inf), a, a)
    with pytest.raises(InfeasibleError, match="same sum"):
        simplex(torch.zeros(3, 3), a, 2 * a)


def test_nothing_to_move():
    cost = torch.rand(3, 4, dtype=torch.float64, generator=generator(0))
    i, _, _, f, g = simplex(cost, torch.zeros(3), torch.zeros(4))
    assert len(i) == 0
    assert (cost - f[:, None] - g >= 0).all()


def test_start_from_the_answer_needs_no_pivot():
    x = torch.rand(60, 2, dtype=torch.float64, generator=generator(0))
    y = torch.rand(90, 2, dtype=torch.float64, generator=generator(1))
    a, b = weights("random", 60, 2), weights("sparse", 90, 3)
    b = b * (a.sum() / b.sum())
    cost = torch.cdist(x, y)
    basis = simplex(cost, a, b)
    again = simplex(cost, a, b, start=basis, max_iter=0)
    assert certify(cost, a, b, again) == pytest.approx(certify(cost, a, b, basis), rel=1e-13)
    # Another problem nearby, and hints that are no help at all: the answer is the optimum all the same.
    moved = cost + 0.05 * torch.rand(60, 90, dtype=torch.float64, generator=generator(4))
    expected = linear_programme(moved, a, b)
    nonsense = Basis(basis.i.flip(0), basis.j, basis.w, basis.f * math.nan, -basis.g)
    for start in (basis, nonsense):
        assert certify(moved, a, b, simplex(moved, a, b, start=start)) == pytest.approx(expected, rel=1e-9)
    guess = (torch.rand(60).double(), torch.rand(90).double())
    value = certify(moved, a, b, simplex(moved, a, b, potentials=guess))
    assert value == pytest.approx(expected, rel=1e-9)


def test_pivot_limit():
    cost = torch.rand(50, 50, dtype=torch.float64, generator=generator(0))
    a = weights("random", 50, 1)
    with pytest.raises(NotConvergedError, match="max_iter=3") as caught:
        simplex(cost, a, a, max_iter=3)
    i, j, w, _, _ = caught.value.solution
    plan = torch.zeros(50, 50, dtype=torch.float64).index_put_((i, j), w)
    assert torch.allclose(plan.sum(0), a, rtol=1e-13)
    assert torch.allclose(plan.sum(1), a, rtol=1e-13)
    assert float(w @ cost[i, j]) > linear_programme(cost, a, a)


def test_bad_arguments():
    a = torch.ones(3, dtype=torch.float64)
    cost = torch.rand(3, 3, dtype=torch.float64)
    with pytest.raises(InputError, match="NaN or -inf"):
        simplex(cost * math.nan, a, a)
    with pytest.raises(InputError, match="not negative"):
        simplex(cost, -a, -a)
    with pytest.raises(InputError, match="must be finite"):
        simplex(Points(cost * math.inf, cost), a, a)
    with pytest.raises(ShapeError, match=r"\(3,\) and \(3,\)"):
        simplex(cost, a[:2], a)
    with pytest.raises(ShapeError, match="must broadcast"):
        simplex(cost.expand(2, 3, 3), a.expand(4, 3), a)
    basis = simplex(cost, a, a)
    with pytest.raises(ShapeError, match="start must hold"):
        simplex(cost, a, a, start=basis._replace(i=basis.i + 1))
    with pytest.raises(ShapeError, match="guess of g"):
        simplex(cost, a, a, potentials=(a, a[:2]))


def test_single_precision_and_gradients_are_left_at_the_door():
    cost = torch.rand(5, 6, generator=generator(0)).requires_grad_()
    a, b = torch.full((5,), 1 / 5), torch.full((6,), 1 / 6)
    basis = simplex(cost, a, b)
    assert basis.w.dtype == basis.f.dtype == torch.float64
    assert not basis.w.requires_grad
    assert cost.grad is None


@pytest.mark.skipif(not _extension.AVAILABLE, reason="compares the native loop with the reference")
def test_reference_agrees(monkeypatch):
    cost = torch.rand(8, 9, dtype=torch.float64, generator=generator(0))
    a, b = torch.full((8,), 9.0, dtype=torch.float64), torch.full((9,), 8.0, dtype=torch.float64)
    basis = simplex(cost, a, b)
    monkeypatch.setattr(_extension, "AVAILABLE", False)
    slow = simplex(cost, a, b)
    assert torch.equal(torch.stack(basis[:2], 1).unique(dim=0), torch.stack(slow[:2], 1).unique(dim=0))
    cost[0] = math.inf
    with pytest.raises(InfeasibleError):
        simplex(cost, a, b)


def test_medium_clouds_against_pot():
    ot = pytest.importorskip("ot")
    for d in (2, 16):
        x = torch.randn(300, d, dtype=torch.float64, generator=generator(0))
        y = torch.randn(400, d, dtype=torch.float64, generator=generator(1)) * 1.2
        a, b = weights("random", 300, 2), weights("random", 400, 3)
        a, b = a / a.sum(), b / b.sum()
        cost = Points(x, y).block(slice(None))
        value = certify(cost, a, b, simplex(Points(x, y), a, b))
        assert value == pytest.approx(float(ot.emd2(a.numpy(), b.numpy(), np.ascontiguousarray(cost))), rel=1e-9)


@sweep(default=40, slow=2_000)
def test_a_tall_problem_and_its_transposed_one_have_one_value_and_both_are_proved(seeds):
    for seed in seeds:
        g = torch.Generator().manual_seed(seed)
        n, m = (int(torch.randint(low, high, (), generator=g)) for low, high in ((2, 90), (1, 6)))
        x, y = (torch.rand(k, 2, generator=g, dtype=torch.float64) for k in (n, m))
        if seed % 3 == 0:
            x, y = (3 * x).round(), (3 * y).round()
        a = torch.rand(n, generator=g, dtype=torch.float64) + 0.01
        b = torch.rand(m, generator=g, dtype=torch.float64) + 0.01
        if seed % 2:
            a, b = torch.full_like(a, 1 / n), torch.full_like(b, 1 / m)
        # The mass of the plan is that of the rows, whichever side is longer.
        b = b * (a.sum() / b.sum()) * (1 + 1e-8)
        pairs = Points(x, y) if seed % 5 else Matrix(torch.cdist(x, y) ** 2)
        values = []
        for turned in (False, True):
            cost, row, col = (pairs.transpose(), b, a) if turned else (pairs, a, b)
            i, j, w, f, h = simplex(cost, row, col)
            matrix = cost.block(slice(None))
            scale = 1 + float(matrix.max())
            values.append(float((w * matrix[i, j]).sum() / row.sum()))
            assert float((matrix - f[:, None] - h).min()) > -1e-13 * scale, seed
            assert float((matrix[i, j] - f[i] - h[j]).abs().max()) < 1e-13 * scale, seed
            met = torch.zeros_like(row).index_add(0, i, w), torch.zeros_like(col).index_add(0, j, w)
            torch.testing.assert_close(met[0], row, rtol=1e-12, atol=1e-13)
            torch.testing.assert_close(met[1], col * (row.sum() / col.sum()), rtol=1e-12, atol=1e-13)
        assert abs(values[0] - values[1]) < 1e-12 * (1 + abs(values[0])), seed


def test_a_tall_problem_starts_from_the_answer_to_another_one():
    x, y = (torch.rand(k, 2, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in (50, 4))
    # No part of the weights of one side is that of the other: the basis is the plan.
    a, b = (torch.rand(k, generator=torch.Generator().manual_seed(k + 1), dtype=torch.float64) for k in (50, 4))
    b = b * (a.sum() / b.sum())
    found = simplex(Points(x, y), a, b)
    again = simplex(Points(x, y), a, b, start=found, max_iter=0)
    assert torch.equal(again.f, found.f) or float((again.f - found.f).abs().max()) < 1e-14


@pytest.fixture(params=["native", "reference"])
def twin(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(_extension, "AVAILABLE", False)
    elif not _extension.AVAILABLE:
        pytest.skip("the native kernels are not built")


def ragged(count: int, n: int, m: int, seed: int):
    """Problems of many sizes, filled up to (n, m) by points without weight, some in the middle; some are tall."""
    rng = generator(seed)
    x, y = (torch.randn(count, size, 3, generator=rng, dtype=torch.float64) for size in (n, m))
    a, b = (torch.rand(count, size, generator=rng, dtype=torch.float64) + 0.1 for size in (n, m))
    for k in range(count):
        a[k, int(torch.randint(1, n + 1, (), generator=rng)) :] = 0
        b[k, int(torch.randint(1, m + 1, (), generator=rng)) :] = 0
    a[-1, 0] = b[-1, 0] = 0
    a[-1, 1] = b[-1, 1] = 1
    return x, y, a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)


@pytest.mark.parametrize("stored", [True, False])
def test_a_batch_of_problems_of_many_sizes_is_each_of_them(twin, stored):
    x, y, a, b = ragged(12, 9, 14, 0)
    pairs = Points(x, y)
    cost = pairs.block(slice(None))
    found = simplex(Matrix(cost) if stored else pairs, a, b)
    assert found.w.shape[-1] == int((found.w > 0).sum(-1).max())
    for k in range(12):
        basis = Basis(*(part[k] for part in found))
        entries = basis.w > 0
        # The entries of a plan stand together, and only padding follows.
        assert not entries[int(entries.sum()) :].any()
        alone = Basis(*(part[entries] for part in basis[:3]), basis.f, basis.g)
        value = certify(cost[k], a[k], b[k], alone)
        assert value == pytest.approx(linear_programme(cost[k], a[k], b[k]), rel=1e-9)


def test_one_cost_serves_many_weights_and_one_pair_of_weights_many_costs(twin):
    x, y, a, b = ragged(6, 5, 7, 1)
    cost = Points(x, y).block(slice(None))
    shared = simplex(cost[0], a.reshape(2, 3, 5), b.reshape(2, 3, 7))
    assert shared.f.shape == (2, 3, 5)
    fixed = simplex(cost, a[0], b[0])
    for k in range(6):
        one = simplex(cost[0], a[k], b[k])
        torch.testing.assert_close(
            (shared.w * cost[0][shared.i, shared.j]).sum(-1).flatten()[k], one.w @ cost[0][one.i, one.j]
        )
        one = simplex(cost[k], a[0], b[0])
        torch.testing.assert_close((fixed.w[k] * cost[k][fixed.i[k], fixed.j[k]]).sum(), one.w @ cost[k][one.i, one.j])


def test_costs_of_a_batch_keep_their_own_units(twin):
    cost = torch.rand(3, 6, 6, generator=generator(0), dtype=torch.float64)
    a = weights("random", 6, 1)
    scale = torch.tensor([1e-200, 1.0, 1e200], dtype=torch.float64)
    found = simplex(cost * scale[:, None, None], a, a)
    for k in range(3):
        expected = linear_programme(cost[k], a, a)
        value = (found.w[k] * cost[k][found.i[k], found.j[k]]).sum()
        assert float(value) == pytest.approx(expected, rel=1e-9)
        assert float((found.f[k] / scale[k] * a).sum() * 2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.skipif(not _extension.AVAILABLE, reason="a linear programme starts from nowhere")
def test_a_batch_starts_from_its_answer_and_no_problem_needs_a_pivot():
    x, y, a, b = ragged(10, 20, 30, 2)
    # The basis of a problem without ties is its plan.
    found = simplex(Points(x, y), a, b)
    again = simplex(Points(x, y), a, b, start=found, max_iter=0)
    torch.testing.assert_close(again.f, found.f)
    with pytest.raises(NotConvergedError, match="max_iter=0"):
        simplex(Points(x, y.flip(-2)), a, b, max_iter=0)


def test_of_a_batch_the_problem_without_a_plan_is_named(twin):
    cost = torch.zeros(4, 3, 3, dtype=torch.float64)
    cost[2, :, 1:] = math.inf
    a = torch.ones(4, 3, dtype=torch.float64)
    with pytest.raises(InfeasibleError, match="problem 2 needs pairs"):
        simplex(cost, a, a)
    with pytest.raises(InfeasibleError, match="same sum"):
        simplex(cost, a, a * torch.tensor([1.0, 1.0, 1.0, 2.0])[:, None])
    assert simplex(cost[:0], a[:0], a[:0]).f.shape == (0, 3)

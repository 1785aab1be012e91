"""Transport along lists of pairs, beside the matrix in which all other pairs cost infinity."""

from __future__ import annotations

import math

import pytest
import torch

from draws import generator
from monge.errors import InfeasibleError, InputError, NotConvergedError
from monge.kernels import Arcs, Basis, _extension, simplex

D = torch.float64


@pytest.fixture(params=["native", "reference"])
def twin(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(_extension, "AVAILABLE", False)
    elif not _extension.AVAILABLE:
        pytest.skip("the native kernels are not built")


def lists(n: int, m: int, seed: int, batch: tuple[int, ...] = (), absent: bool = False):
    """Pairs in no order, weights that some plan on them meets, which leaves atoms out if asked."""
    rng = generator(seed)
    keys = torch.randperm(n * m, generator=rng)[: max(n, m) * 3]
    i, j = keys // m, keys % m
    plan = torch.rand(len(keys), generator=rng, dtype=D)
    if absent:
        plan = plan * (i % 4 != 1) * (j % 3 != 1)
    a, b = (torch.zeros(size, dtype=D).index_add(0, index, plan) for index, size in ((i, n), (j, m)))
    return Arcs(i, j, torch.rand(*batch, len(keys), generator=rng, dtype=D) + 0.01, n, m), a, b


def assert_as_by_its_matrix(arcs: Arcs, a, b, found: Basis):
    cost = arcs.block(slice(None))
    expected = simplex(cost, a, b)
    mass, scale = float(a.sum()), float(arcs.cost.abs().max())
    plan = torch.zeros_like(cost).index_put_((found.i, found.j), found.w, accumulate=True)
    assert (plan.sum(1) - a).abs().max() <= 1e-13 * mass
    assert (plan.sum(0) - b).abs().max() <= 1e-13 * mass
    reduced = cost - found.f[:, None] - found.g
    used = found.w > 0
    assert reduced.min() >= -1e-13 * scale
    assert reduced[found.i[used], found.j[used]].abs().max() <= 1e-13 * scale
    value = float(found.w[used] @ cost[found.i[used], found.j[used]])
    theirs = float(expected.w @ cost[expected.i, expected.j])
    assert value == pytest.approx(theirs, rel=1e-9)
    # The value is shared equally between the sides.
    assert float(a @ found.f) == pytest.approx(value / 2, rel=1e-9)
    assert float(b @ found.g) == pytest.approx(value / 2, rel=1e-9)


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("shape", [(1, 5), (14, 14), (6, 25), (25, 6), (40, 3)])
def test_a_list_is_its_matrix(twin, shape, absent):
    for seed in range(4):
        arcs, a, b = lists(*shape, seed, absent=absent)
        if float(a.sum()) > 0:
            assert_as_by_its_matrix(arcs, a, b, simplex(arcs, a, b))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_problems_of_a_batch_share_their_pairs(twin, shape):
    arcs, a, b = lists(*shape, 0, batch=(2, 3), absent=True)
    weights = torch.rand(2, 1, 1, generator=generator(1), dtype=D) + 0.5
    found = simplex(arcs, a * weights, b * weights)
    assert found.f.shape == (2, 3, shape[0])
    for k in range(2):
        for q in range(3):
            one = Arcs(arcs.i, arcs.j, arcs.cost[k, q], *shape)
            assert_as_by_its_matrix(one, a * weights[k, 0], b * weights[k, 0], Basis(*(part[k, q] for part in found)))
    # And one list serves many weights.
    shared = simplex(Arcs(arcs.i, arcs.j, arcs.cost[0, 0], *shape), a * weights[:, 0], b * weights[:, 0])
    torch.testing.assert_close(shared.f, found.f[0, 0].expand(2, -1))


@pytest.mark.parametrize("shape", [(9, 15), (15, 9)])
def test_costs_of_a_list_keep_their_own_units(twin, shape):
    arcs, a, b = lists(*shape, 2)
    scale = torch.tensor([1e-200, 1.0, 1e200], dtype=D)
    found = simplex(Arcs(arcs.i, arcs.j, arcs.cost * scale[:, None], *shape), a, b)
    for k in range(3):
        f, g = found.f[k] / scale[k], found.g[k] / scale[k]
        assert_as_by_its_matrix(arcs, a, b, Basis(found.i[k], found.j[k], found.w[k], f, g))


def test_of_costs_with_a_common_part_the_differences_are_told_apart(twin):
    arcs, a, b = lists(8, 11, 3)
    # Costs that float64 holds exactly, in steps of 2^-26 above 2^26.
    steps = (arcs.cost * 64).round()
    near = Arcs(arcs.i, arcs.j, 2.0**26 + steps * 2.0**-26, 8, 11)
    found, plain = simplex(near, a, b), simplex(Arcs(arcs.i, arcs.j, steps, 8, 11), a, b)
    held = {(int(i), int(j)): float(step) for i, j, step in zip(arcs.i, arcs.j, steps, strict=True)}
    cost = [sum(held[int(i), int(j)] * float(w) for i, j, w in zip(*b[:3], strict=True)) for b in (found, plain)]
    assert cost[0] == pytest.approx(cost[1], rel=1e-12)


@pytest.mark.skipif(not _extension.AVAILABLE, reason="a linear programme starts from nowhere")
@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_a_list_starts_from_its_answer_and_needs_no_pivot(shape):
    arcs, a, b = lists(*shape, 4, absent=True)
    found = simplex(arcs, a, b)
    again = simplex(arcs, a, b, start=found, max_iter=0)
    assert_as_by_its_matrix(arcs, a, b, again)
    guess = (torch.full((shape[0],), math.nan, dtype=D), torch.rand(shape[1], generator=generator(5), dtype=D))
    assert_as_by_its_matrix(arcs, a, b, simplex(arcs, a, b, potentials=guess))
    with pytest.raises(NotConvergedError, match="max_iter=0"):
        simplex(Arcs(arcs.i, arcs.j, 1 - arcs.cost, *shape), a, b, max_iter=0)


def test_what_no_list_allows(twin):
    one = torch.ones(2, dtype=D)
    index = torch.tensor([0, 1])
    with pytest.raises(InfeasibleError, match="infinite cost"):
        simplex(Arcs(index, index * 0, one, 2, 2), one, one)
    with pytest.raises(InputError, match="leave a pair out"):
        simplex(Arcs(index, index, one * math.inf, 2, 2), one, one)

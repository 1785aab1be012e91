"""Few points: shortest augmenting paths against the tree of the simplex, and the proof against its definition."""

from __future__ import annotations

import math
import random

import pytest
import torch

from monge.errors import InfeasibleError
from monge.kernels import AVAILABLE, proof, simplex
from monge.kernels.exact.proof import reference

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="the native kernels are not built")
D = torch.float64


def instance(seed):
    """Costs and weights of one of several kinds, some of them degenerate."""
    rng, g = random.Random(seed), torch.Generator().manual_seed(seed)
    n, m, d = rng.choice((1, 2, 3, 8, 20, 64)), rng.choice((1, 2, 5, 9, 33, 64)), rng.choice((1, 2, 5))
    x, y = torch.randn(n, d, generator=g, dtype=D), torch.randn(m, d, generator=g, dtype=D)
    if rng.random() < 0.4:
        x, y = (2 * x).round(), (2 * y).round()
    cost = (x[:, None] - y).square().sum(-1) * rng.choice((1.0, 1.0, 1e-9, 1e12))
    if rng.random() < 0.2:
        cost = cost.masked_fill(torch.rand(n, m, generator=g) < 0.3, math.inf)
    weights = []
    kind = rng.choice(("equal", "random", "pareto", "integers", "zeros"))
    for size in (n, m):
        w = torch.rand(size, generator=g, dtype=D) + 1e-3
        w = {"equal": torch.ones_like(w), "pareto": w**-3, "integers": (4 * w).ceil()}.get(kind, w)
        if kind == "zeros":
            w[torch.rand(size, generator=g) < 0.4] = 0
            w[0] = 1
        weights.append(w / w.sum())
    return cost, *weights


def value(cost, basis):
    return float((basis.w * cost[basis.i, basis.j]).sum())


def is_a_forest(basis, n):
    leader = list(range(n + int(basis.j.max()) + 1))

    def find(v):
        while leader[v] != v:
            v = leader[v]
        return v

    for i, j in zip(basis.i.tolist(), basis.j.tolist(), strict=True):
        if find(i) == find(n + j):
            return False
        leader[find(i)] = find(n + j)
    return True


def compare(seed):
    cost, a, b = instance(seed)
    hint = torch.zeros_like(a), torch.zeros_like(b)  # whoever starts from potentials needs the tree
    try:
        tree = simplex(cost, a, b, potentials=hint)
    except InfeasibleError:
        with pytest.raises(InfeasibleError):
            simplex(cost, a, b)
        return
    found = simplex(cost, a, b)
    scale = abs(value(cost, tree)) + float(cost[cost < math.inf].max()) * 1e-15
    assert abs(value(cost, found) - value(cost, tree)) <= 1e-12 * scale, seed
    assert is_a_forest(found, len(a)), seed
    for side, index in ((a, found.i), (b, found.j)):
        assert torch.allclose(torch.zeros_like(side).index_add(0, index, found.w), side, atol=1e-15), seed
    slack = cost - found.f[:, None] - found.g
    size = cost[cost < math.inf].max() + found.f.abs().max() + found.g.abs().max()
    assert slack.min() >= -1e-13 * size, seed
    shown = proof(cost, *found[:3], a, b, found.f, found.g)
    assert shown.doubt <= 1e-12 * shown.scale + 1e-13 * size, seed


@pytest.mark.parametrize("block", range(4))
def test_paths_find_what_the_tree_finds(block):
    for seed in range(100 * block, 100 * block + 100):
        compare(seed)


@pytest.mark.slow
def test_paths_find_what_the_tree_finds_ten_thousand_times():
    for seed in range(1000, 11000):
        compare(seed)


def test_a_batch_is_a_loop():
    g = torch.Generator().manual_seed(0)
    cost = torch.rand(50, 7, 9, generator=g, dtype=D)
    a, b = (torch.rand(50, size, generator=g, dtype=D) for size in (7, 9))
    a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
    together = simplex(cost, a, b)
    for k in range(50):
        alone = simplex(cost[k], a[k], b[k])
        assert torch.equal(together.f[k], alone.f)
        assert torch.equal(together.w[k][: len(alone.w)], alone.w)


def test_the_proof_is_its_definition_and_sees_what_is_wrong():
    for seed in range(60):
        cost, a, b = instance(seed)
        try:
            i, j, w, f, g = simplex(cost, a, b)
        except InfeasibleError:
            continue
        generator = torch.Generator().manual_seed(seed)
        for spoiled in (0.0, 0.1):
            off = f + spoiled * torch.rand(len(f), generator=generator, dtype=D)
            shares = w * (1 + spoiled * torch.rand(len(w), generator=generator, dtype=D))
            found, right = proof(cost, i, j, shares, a, b, off, g), reference.proof(cost, i, j, shares, a, b, off, g)
            for one, other in zip(found, right, strict=True):
                assert torch.allclose(one, other, rtol=1e-10, atol=1e-12 * float(found.scale) + 1e-300), seed
            assert (found.violation > 1e-4) == (spoiled > 0)


def test_one_cost_serves_all_problems():
    g = torch.Generator().manual_seed(0)
    cost, a = torch.rand(4, 5, generator=g, dtype=D), torch.rand(6, 4, generator=g, dtype=D)
    a = a / a.sum(-1, keepdim=True)
    b = torch.full((5,), 0.2, dtype=D)
    i, j, w, f, potential = simplex(cost, a, b)
    shown = proof(cost, i, j, w, a, b, f, potential)
    assert shown.gap.shape == (6,)
    assert shown.gap.abs().max() <= 1e-15

"""The suite of costs passes every geometry of the library, and sees every way in which one can be wrong."""

from __future__ import annotations

import math

import pytest
import torch

from monge._value import value
from monge.geometry import Circle, CostMatrix, Geometry, Graph, Grid, Line, LowRankCost, PointCloud, Sphere, Tree
from monge.testing import check_geometry

D = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def directions(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(draw(*shape, seed=seed) - 0.5, dim=-1)


def forbidding() -> torch.Tensor:
    cost = draw(4, 5)
    cost[0, 1] = cost[2, 3] = math.inf
    return cost


PARENTS = torch.tensor([-1, 0, 0, 1, 1, 2])
EDGES = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 5, 5]])
MAKE = {
    **{
        f"cloud, {cost}": lambda cost=cost: PointCloud(draw(4, 3), draw(5, 3, seed=1), cost=cost)
        for cost in ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine", "dot")
    },
    "cloud, a power of a norm": lambda: PointCloud(draw(4, 3), draw(5, 3, seed=1), cost="minkowski", p=3, power=1.5),
    "cloud, a function": lambda: PointCloud(draw(4, 3), draw(5, 3, seed=1), cost=lambda x, y: (x - y).cosh().sum(-1)),
    "cloud, batch": lambda: PointCloud(draw(2, 3, 4, 3), draw(3, 5, 3, seed=1)),
    "cloud, one point": lambda: PointCloud(draw(1, 2), draw(1, 2, seed=1)),
    "cloud, float32": lambda: PointCloud(draw(4, 3).float(), draw(5, 3, seed=1).float()),
    "matrix": lambda: CostMatrix(draw(2, 4, 5)),
    "matrix, forbidden pairs": lambda: CostMatrix(forbidding()),
    "line": lambda: Line(draw(3, 4), draw(3, 5, seed=1), p=1.5),
    "circle": lambda: Circle(draw(4), draw(5, seed=1)),
    "sphere": lambda: Sphere(directions(4, 3), directions(5, 3, seed=1)),
    "grid": lambda: Grid((draw(2), Line(draw(3), draw(2, seed=1)))),
    "factors": lambda: LowRankCost(draw(4, 2), draw(5, 2, seed=1)),
    "tree": lambda: Tree.from_parents(PARENTS, draw(6), p=2.0),
    "graph": lambda: Graph.from_edges(EDGES, draw(6)),
    "sum": lambda: PointCloud(draw(2, 4, 3), draw(5, 3, seed=1)) + 2.0 * CostMatrix(draw(4, 5)),
    "some of a batch": lambda: Bare(draw(3, 4, 5))[[2, 0]],
}


@value
class Bare(Geometry):
    """What a stranger writes: two methods, and everything else is inherited."""

    cost: torch.Tensor

    def _block(self, rows):
        return self.cost[..., rows, :]

    def _transpose(self):
        return type(self)(self.cost.mT)


@pytest.mark.parametrize("name", MAKE)
def test_every_geometry_passes(name):
    check_geometry(MAKE[name]())


def test_a_formula_and_a_temperature_for_each_problem():
    x, y = draw(3, 4, 2), draw(3, 5, 2, seed=1)
    cost = (x[..., :, None, :] - y[..., None, :, :]).square().sum(-1)
    check_geometry(PointCloud(x, y), cost, epsilon=torch.tensor([0.1, 0.7, 3.0], dtype=D))
    with pytest.raises(AssertionError, match=r"geometry.dense\(\) differs from its matrix"):
        check_geometry(PointCloud(x, y), cost / 2)


@value
class NotTransposed(Bare):
    def _transpose(self):
        return self


@value
class BlocksInOrder(Bare):
    def _block(self, rows):
        return self.cost[..., rows if isinstance(rows, slice) else rows.sort().values, :]


@value
class WithoutWeights(Bare):
    def _softmin(self, g, log_b, epsilon):
        return super()._softmin(g, torch.zeros_like(log_b), epsilon)


@value
class WithoutGradient(Bare):
    def _apply(self, row, col, v, epsilon):
        return (
            self.detach()._apply(row, col, v, epsilon)
            if self.cost.requires_grad
            else super()._apply(row, col, v, epsilon)
        )


@value
class AnotherColumn(Bare):
    def _ctransform(self, g):
        values, index = super()._ctransform(g)
        return values, (index + 1) % self.cost.shape[-1]


@value
class Largest(Bare):
    def _top_k(self, g, k):
        values, index = (self.cost - g[..., None, :]).topk(k, -1)
        return values, index


@value
class EntriesElsewhere(Bare):
    def _entries(self, i, j):
        return super()._entries(i.flip(-1), j)


@value
class ForbiddenPairsCount(Bare):
    def _mean(self, a, b):
        total, _ = super()._mean(a, b)
        return total, a.sum(-1) * b.sum(-1)


@value
class AnotherProblem(Bare):
    def _select(self, index, batch):
        return Bare(self.cost.flip(0)[index])


@value
class InSinglePrecision(Bare):
    def _block(self, rows):
        return self.cost[..., rows, :].float().double()


@value
class SlopeOfHalf(Bare):
    def _block(self, rows):
        block = self.cost[..., rows, :]
        return block / 2 + block.detach() / 2


@value
class NeverTheSame(Bare):
    def _block(self, rows):
        return self.cost[..., rows, :] + 1e-12 * torch.rand(())


@value
class LoudWhereAbsent(Bare):
    def _softmin(self, g, log_b, epsilon):
        return super()._softmin(g, log_b.clamp_min(-50), epsilon)


BROKEN = {
    NotTransposed: r"geometry\.T",
    BlocksInOrder: r"geometry\.block\(list\)",
    WithoutWeights: r"geometry\._softmin\(g, log_b, epsilon\) differs",
    WithoutGradient: r"The gradient of geometry\._apply\(row",
    AnotherColumn: r"geometry\._ctransform\(g\), by its index",
    Largest: r"geometry\.(_top_k|_ctransform)",
    EntriesElsewhere: r"geometry\._entries\(i, j\)",
    ForbiddenPairsCount: r"geometry\.mean",
    AnotherProblem: r"geometry\[0\]",
    InSinglePrecision: r"geometry\.dense\(\) differs from its matrix",
    SlopeOfHalf: r"The gradient of geometry\.dense\(\) differs from differences",
    NeverTheSame: r"geometry\.dense\(\) must be the same every time",
    LoudWhereAbsent: "where a column has no weight",
}


@pytest.mark.parametrize("cls", BROKEN)
def test_the_suite_fails_and_says_why(cls):
    cost = torch.stack([forbidding(), draw(4, 5, seed=2)]) if cls is not NotTransposed else draw(2, 4, 4)
    known = cost if cls is InSinglePrecision else None
    check_geometry(Bare(cost), known)
    with pytest.raises(AssertionError, match=BROKEN[cls]):
        check_geometry(cls(cost), known)

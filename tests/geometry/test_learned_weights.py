"""Sums whose weights are learned, differentiated through every solver; and geometries of empty batches."""

from __future__ import annotations

import pytest
import torch

import monge
from monge.geometry import Circle, CostMatrix, Grid, Line, LowRankCost, PointCloud, Sphere, Tree
from monge.problem import Linear, relative
from monge.solver import Newton, Simplex, Sinkhorn

D = torch.float64
GENERATOR = torch.Generator().manual_seed(0)
X, Y, C = (torch.rand(shape, generator=GENERATOR, dtype=D) for shape in ((5, 2), (6, 2), (5, 6)))

SUMS = {
    "a cloud and a matrix": lambda w, x: PointCloud(x, Y) + w * CostMatrix(C),
    "a matrix": lambda w, x: w * CostMatrix(C) + PointCloud(x, Y) * 0.0,
    "a cloud": lambda w, x: w * PointCloud(x, Y),
    "a norm": lambda w, x: w * PointCloud(x, Y, "euclidean"),
    "two clouds": lambda w, x: w * PointCloud(x, Y) + PointCloud(x.flip(0), Y),
    "products": lambda w, x: w * PointCloud(x, Y, "dot") + PointCloud(x.flip(0), Y, "dot"),
    "a sum in a sum": lambda w, x: w * (w * PointCloud(x, Y) + CostMatrix(C)),
    "a negative weight": lambda w, x: PointCloud(x, Y) + (-w) * CostMatrix(C),
}
SOLVERS = {
    "Auto": (None, 0.3),
    "Sinkhorn": (Sinkhorn(), 0.3),
    "Newton": (Newton(), 0.3),
    "Unrolled": (Sinkhorn(gradient=monge.gradient.Unrolled(), max_iter=200), 0.3),
    "exact": (None, 0.0),
    "Simplex": (Simplex(), 0.0),
}


@pytest.mark.parametrize(
    ("kind", "solver", "batch"),
    [*((kind, "Auto", (2,)) for kind in SUMS), *(("a cloud and a matrix", solver, ()) for solver in SOLVERS)],
)
def test_a_learned_weight_has_its_derivative(kind: str, solver: str, batch: tuple[int, ...]) -> None:
    chosen, epsilon = SOLVERS[solver]

    def loss(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        found = monge.solve(Linear(SUMS[kind](w, x), epsilon=epsilon), chosen)
        if not epsilon:
            return found.value.sum()
        P = found.coupling
        answers = (found.value, P.barycentric(Y).square().sum((-1, -2)), P.transport_cost(), found.f[..., 0])
        return sum(part.sum() for part in answers)

    w = (0.7 + 0.2 * torch.arange(2, dtype=D)) if batch else torch.tensor(0.7, dtype=D)
    leaves = [w.clone().requires_grad_(), X.clone().requires_grad_()]
    by_w, by_x = torch.autograd.grad(loss(*leaves), leaves)
    step = 1e-6
    for k in range(w.numel()):
        move = step * torch.eye(w.numel(), dtype=D)[k].reshape(w.shape)
        want = float(loss(w + move, X) - loss(w - move, X)) / (2 * step)
        assert float(by_w.reshape(-1)[k]) == pytest.approx(want, abs=1e-5)
    move = torch.zeros_like(X)
    move[1, 0] = step
    assert float(by_x[1, 0]) == pytest.approx(float(loss(w, X + move) - loss(w, X - move)) / (2 * step), abs=1e-5)


def test_values_of_numbers_and_tensors_are_trees_of_tensors_only() -> None:
    held = PointCloud(X, Y) + torch.tensor(0.7) * CostMatrix(C)
    leaves, shape = torch.utils._pytree.tree_flatten(held)
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves)
    again = torch.utils._pytree.tree_unflatten(leaves, shape)
    assert torch.equal(again.dense(), held.dense())


EMPTY = {
    "cloud": lambda: PointCloud(torch.ones(0, 5, 2), torch.ones(0, 6, 2)),
    "wide cloud": lambda: PointCloud(torch.ones(0, 5, 12), torch.ones(0, 6, 12)),
    "cosine": lambda: PointCloud(torch.ones(0, 5, 2), torch.ones(6, 2), "cosine"),
    "function": lambda: PointCloud(torch.ones(0, 5, 2), torch.ones(0, 6, 2), lambda x, y: (x - y).abs().sum(-1)),
    "matrix": lambda: CostMatrix(torch.ones(0, 5, 6)),
    "line": lambda: Line(torch.ones(0, 5), torch.ones(0, 6)),
    "circle": lambda: Circle(torch.ones(0, 5), torch.ones(0, 6)),
    "sphere": lambda: Sphere(torch.ones(0, 5, 12), torch.ones(0, 6, 12)),
    "tree": lambda: Tree.from_parents(torch.tensor([-1, 0, 0]), torch.ones(0, 3)),
    "factors": lambda: LowRankCost(torch.ones(0, 5, 2), torch.ones(0, 6, 2)),
    "grid": lambda: Grid((Line(torch.ones(0, 5), torch.ones(0, 6)),)),
    "sum": lambda: PointCloud(torch.ones(0, 5, 2), torch.ones(0, 6, 2)) + CostMatrix(torch.ones(5, 6)),
    "picked": lambda: PointCloud(torch.ones(3, 5, 2), torch.ones(3, 6, 2))[[]],
}


@pytest.mark.parametrize("kind", EMPTY)
def test_an_empty_batch_has_empty_answers(kind: str) -> None:
    geometry = EMPTY[kind]()
    n, m = geometry.shape
    zeros = torch.zeros(m)
    assert geometry.dense().shape == (0, n, m)
    assert geometry.mean().shape == (0,)
    assert geometry._softmin(zeros, zeros, 0.1).shape == (0, n)
    assert geometry._apply(torch.zeros(n), zeros, torch.zeros(m, 2), 0.1).shape == (0, n, 2)
    assert geometry._ctransform(zeros)[0].shape == (0, n)
    assert geometry._sinkhorn(zeros, torch.zeros(n), zeros, 0.1)[0].shape == (0, n)
    assert geometry._entries(torch.tensor([0, 1]), torch.tensor([1, 0])).shape == (0, 2)
    assert Linear(geometry, epsilon=relative(0.1)).epsilon.shape == (0,)

"""No question may build anything of the size of the cost: the largest storage that any operation returns is bounded."""

from __future__ import annotations

import pytest
import torch
from dense import Bare

from monge.geometry import Circle, Geometry, Grid, Line, LowRankCost, PointCloud, Sphere, Sum
from monge.testing import LargestTensor

N = 1500


class Lazy(Bare):
    """A geometry that writes the least and stores a line only."""

    def _block(self, rows):
        return (self.cost[rows, None] - self.cost).square()

    def _transpose(self):
        return self


def clouds(d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, d, generator=generator).requires_grad_(), torch.randn(N, d, generator=generator)


def distance(x, y):
    return (x - y).abs().sum(-1)


def everything(geometry: Geometry, *leaves: torch.Tensor) -> None:
    zero = torch.zeros(N)
    total = geometry._softmin(zero, zero, 1.0).sum() + geometry._apply(None, zero, torch.ones(N, 2), 1.0).sum()
    total = total + geometry._inner(zero - 20, zero, 1.0) + geometry.mean() + geometry._ctransform(zero)[0].sum()
    index = torch.arange(N)
    total = total + geometry._entries(index, index.flip(0)).sum() + geometry._top_k(zero, 4)[0].sum()
    torch.autograd.grad(total, leaves, allow_unused=True)
    geometry._sinkhorn(zero, zero, zero, 1.0)


def test_the_recorder_sees_a_matrix():
    with LargestTensor() as seen:
        Lazy(torch.zeros(N)).dense()
    assert seen.bytes == 4 * N * N


@pytest.mark.parametrize(
    "name", ["bare", "function", "euclidean", "cosine", "line", "circle", "sphere", "grid", "sum", "low rank"]
)
def test_nothing_of_the_size_of_the_cost(name):
    x, y = clouds(3)
    side = torch.linspace(0, 1, 60).requires_grad_()
    geometry = {
        "bare": lambda: Lazy(x[:, 0]),
        "function": lambda: PointCloud(x, y, distance),
        "euclidean": lambda: PointCloud(x, y, "euclidean"),
        "cosine": lambda: PointCloud(x, y, "cosine"),
        "line": lambda: Line(x[:, 0], y[:, 0]),
        "circle": lambda: Circle(x[:, 0], y[:, 0]),
        "sphere": lambda: Sphere(x, y),
        "grid": lambda: Grid((side, side[:5], side[:5])),
        "sum": lambda: Sum((PointCloud(x, y), Circle(x[:, 0], y[:, 0])), (0.5, 0.5)),
        "low rank": lambda: LowRankCost(x, y),
    }[name]()
    assert geometry.shape == (N, N)
    with LargestTensor() as seen:
        everything(geometry, side if name == "grid" else x)
    # The whole cost would take 9 MB.
    assert seen.bytes < 5e6

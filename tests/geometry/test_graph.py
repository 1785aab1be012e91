from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from dense import assert_answers
from scipy.sparse.csgraph import floyd_warshall

from monge.errors import DenseLimitError, DtypeError, InfeasibleError, InputError, ShapeError
from monge.geometry import Circle, Graph, Line


def path(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([torch.arange(n - 1), torch.arange(1, n)]), torch.ones(n - 1, dtype=torch.float64)


def random_graph(n: int, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(n, (2, count), generator=generator)
    return edges, torch.rand(count, generator=generator, dtype=torch.float64) + 0.1


def brute(edges: torch.Tensor, length: torch.Tensor, n: int, directed: bool) -> torch.Tensor:
    """Floyd-Warshall by hand."""
    distance = torch.full((n, n), math.inf, dtype=torch.float64)
    distance.fill_diagonal_(0)
    for (i, j), size in zip(edges.T.tolist(), length.tolist(), strict=True):
        distance[i, j] = min(distance[i, j], size)
        if not directed:
            distance[j, i] = min(distance[j, i], size)
    for k in range(n):
        distance = torch.minimum(distance, distance[:, k, None] + distance[None, k])
    return distance


def test_path_is_a_line():
    edges, length = path(12)
    length = length * torch.linspace(0.5, 2, 11, dtype=torch.float64)
    places = torch.cat([torch.zeros(1, dtype=torch.float64), length.cumsum(0)])
    for p in (1, 2, 2.5):
        assert_answers(Graph.from_edges(edges, length, p=p), Line(places, places, p).dense(), tolerance=1e-9)


def test_cycle_is_a_circle():
    n = 9
    edges = torch.stack([torch.arange(n), (torch.arange(n) + 1) % n])
    places = torch.arange(n, dtype=torch.float64)
    geometry = Graph.from_edges(edges, torch.ones(n, dtype=torch.float64))
    torch.testing.assert_close(geometry.dense(), Circle(places, places, 2, float(n)).dense())


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(("n", "count"), [(1, 2), (15, 12), (15, 60), (30, 200)])
def test_random_graphs(n, count, directed):
    edges, length = random_graph(n, count)
    wanted = brute(edges, length, n, directed)
    geometry = Graph.from_edges(edges, length, n, p=1, directed=directed)
    torch.testing.assert_close(geometry.dense(), wanted)
    torch.testing.assert_close(geometry.T.dense(), wanted.mT)
    some, others = torch.tensor([0, n - 1, 0]), torch.tensor([n // 2])
    part = Graph.from_edges(edges, length, n, p=1, directed=directed, sources=some, targets=others)
    torch.testing.assert_close(part.dense(), wanted[some][:, others])


def test_adjacency_as_scipy_reads_it():
    adjacency = torch.rand(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    adjacency[adjacency < 0.7] = 0
    wanted = torch.from_numpy(floyd_warshall(adjacency.numpy()))
    torch.testing.assert_close(Graph.from_adjacency(adjacency, p=1).dense(), wanted)
    torch.testing.assert_close(Graph.from_adjacency(adjacency.to_sparse(), p=1).dense(), wanted)
    torch.testing.assert_close(
        Graph.from_adjacency(adjacency.masked_fill(adjacency == 0, math.inf), p=1).dense(), wanted
    )


def test_edges_of_length_zero_and_parallel_edges():
    edges = torch.tensor([[0, 0, 1, 1], [1, 1, 2, 1]])
    length = torch.tensor([3.0, 0.0, 2.0, 7.0])
    assert Graph.from_edges(edges, length, p=1).dense().tolist() == [[0, 0, 2], [0, 0, 2], [2, 2, 0]]


def test_unconnected_nodes_are_forbidden():
    edges, length = path(3)
    cost = Graph.from_edges(edges, length, 5).dense()
    assert cost[:3, 3:].isinf().all()
    assert cost[3, 4] == math.inf
    assert cost[4, 4] == 0
    assert (Graph.from_edges(edges[:, :0], length[:0], 2).dense() == torch.tensor([[0, math.inf], [math.inf, 0]])).all()


@pytest.mark.parametrize("p", [1, 2])
def test_derivatives_reach_the_lengths(p):
    edges, length = random_graph(8, 14, seed=2)
    weight = torch.rand(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def total(length):
        cost = Graph.from_edges(edges, length, 8, p=p).dense()
        return (weight * cost.masked_fill(cost == math.inf, 0)).sin().sum()

    length.requires_grad_()
    assert torch.autograd.gradcheck(total, (length,))
    assert torch.autograd.gradgradcheck(total, (length,), fast_mode=True)
    torch.testing.assert_close(
        Graph.from_edges(edges, length, 8).dense().detach(), Graph.from_edges(edges, length.detach(), 8).dense()
    )


def test_derivatives_along_a_long_path():
    edges, length = path(40)
    length.requires_grad_()
    Graph.from_edges(edges, length, p=1).dense()[0, 39].backward()
    assert (length.grad == 1).all()


def heat(edges: torch.Tensor, length: torch.Tensor, n: int, time: float, steps: int) -> torch.Tensor:
    joined = torch.zeros(n, n, dtype=torch.float64)
    for (i, j), size in zip(edges.T.tolist(), length.tolist(), strict=True):
        if i != j:
            joined[i, j] += size**-2
            joined[j, i] += size**-2
    system = torch.eye(n, dtype=torch.float64) + time / steps * (joined.sum(1).diag() - joined)
    return -4 * time * torch.linalg.inv(torch.linalg.matrix_power(system, steps)).log()


def test_heat_kernel():
    edges, length = random_graph(15, 60)
    wanted = heat(edges, length, 15, 0.5, 7)
    found = Graph.from_edges(edges, length, 15, time=0.5, steps=7)
    torch.testing.assert_close(found.dense(), wanted)
    torch.testing.assert_close(Graph.from_edges(edges, length, 15, time=0.5, steps=7, p=1).dense(), wanted.sqrt())
    some = torch.tensor([3, 1])
    part = Graph.from_edges(edges, length, 15, time=0.5, steps=7, sources=some, targets=some + 1)
    torch.testing.assert_close(part.dense(), wanted[some][:, some + 1])


def test_heat_from_adjacency():
    edges, length = path(6)
    adjacency = torch.zeros(6, 6, dtype=torch.float64)
    adjacency[edges[0], edges[1]] = adjacency[edges[1], edges[0]] = 0.5 * length
    wanted = Graph.from_edges(edges, 0.5 * length, time=1.0).dense()
    torch.testing.assert_close(Graph.from_adjacency(adjacency, time=1.0).dense(), wanted)
    with pytest.raises(InputError, match="symmetric"):
        Graph.from_adjacency(adjacency.triu(), time=1.0)


def test_heat_approaches_the_squared_distance():
    # Varadhan: on a fine path the error is of the order t log(1 / t).
    n, time = 400, 2e-3
    edges, length = path(n)
    cost = Graph.from_edges(edges, length / n, time=time, steps=64).dense()
    middle = cost[n // 2, [n // 2 + 100, n // 2 + 150]] - cost[n // 2, n // 2]
    torch.testing.assert_close(middle, torch.tensor([0.25**2, 0.375**2], dtype=torch.float64), rtol=0.1, atol=0)


def test_far_heat_keeps_its_digits():
    # Down to 1e-250, where a solver that pivots would leave noise.
    edges, length = path(60)
    found = Graph.from_edges(edges, length, time=1e-3, steps=1).dense()[0]
    system = np.eye(60) * 1.0
    t = 1e-3
    system = np.diag(np.r_[1 + t, np.full(58, 1 + 2 * t), 1 + t]) - t * (np.eye(60, k=1) + np.eye(60, k=-1))
    # Backward recursion for the first column of the inverse of a tridiagonal matrix, in logs.
    ratio = np.empty(59)
    for k in range(58, -1, -1):
        ratio[k] = t / (system[k + 1, k + 1] - (t * ratio[k + 1] if k < 58 else 0.0))
    first = 1 / (system[0, 0] - t * ratio[0])
    wanted = -4 * t * (np.log(first) + np.r_[0, np.cumsum(np.log(ratio))])
    torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=1e-10, atol=1e-12)


def test_heat_of_unconnected_nodes_and_too_short_times():
    edges, length = path(4)
    cost = Graph.from_edges(edges, length, 6, time=1.0).dense()
    assert cost[:4, :4].isfinite().all()
    assert cost[:4, 4:].isinf().all()
    edges, length = path(400)
    with pytest.raises(InfeasibleError, match=r"time=0\.001 is too short"):
        Graph.from_edges(edges, length, time=1e-3, steps=1)


def test_float32():
    edges, length = random_graph(15, 60)
    cost = Graph.from_edges(edges, length.float(), 15)
    assert cost.dtype == torch.float32
    assert_answers(cost, brute(edges, length, 15, False).square().float(), tolerance=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"edges": torch.zeros(3, 2).long()}, ShapeError, r"shape \(2, e\)"),
        ({"edges": [[0], [1]]}, ShapeError, "list"),
        ({"edges": torch.zeros(2, 3)}, ShapeError, "torch.long"),
        ({"length": torch.ones(3)}, ShapeError, "each of the 2 edges"),
        ({"length": torch.ones(2).long()}, DtypeError, r"length.float\(\)"),
        ({"length": torch.tensor([1.0, -1.0])}, InputError, "non-negative"),
        ({"length": torch.tensor([1.0, math.nan])}, InputError, "NaN"),
        ({"n": 2}, InputError, r"edges must be nodes in \[0, 1\]"),
        ({"n": 0}, InputError, "n must be a positive"),
        ({"sources": torch.tensor([5])}, InputError, r"sources must be nodes in \[0, 2\]"),
        ({"targets": torch.tensor([True, False])}, ShapeError, "targets must be a list of nodes"),
        ({"p": 0.5}, InputError, r"p must lie in \[1"),
        ({"max_bytes": 8}, DenseLimitError, "sources="),
        ({"time": 0.0}, InputError, "time must lie in"),
        ({"time": 1.0, "steps": 0}, InputError, "steps must be a positive integer"),
        ({"time": 1.0, "directed": True}, InputError, "directed graph has no heat kernel"),
        ({"time": 1.0, "length": torch.ones(2, requires_grad=True)}, InputError, r"length.detach\(\)"),
        ({"time": 1.0, "length": torch.zeros(2)}, InputError, "merge the nodes"),
    ],
)
def test_errors_say_what_to_do(change, error, message):
    arguments = {"edges": torch.tensor([[0, 1], [1, 2]]), "length": torch.ones(2), **change}
    with pytest.raises(error, match=message):
        Graph.from_edges(**arguments)


def test_adjacency_errors():
    with pytest.raises(ShapeError, match="square"):
        Graph.from_adjacency(torch.zeros(2, 3))
    with pytest.raises(InputError, match="directed=True must not be given, because the adjacency"):
        Graph.from_adjacency(torch.zeros(2, 2), directed=True)

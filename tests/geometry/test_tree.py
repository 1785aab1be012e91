from __future__ import annotations

import math

import pytest
import torch
from dense import assert_answers

from monge.errors import InputError, ShapeError
from monge.geometry import Graph, Tree


def random_tree(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    parent = torch.tensor([-1] + [int(torch.randint(k, (), generator=generator)) for k in range(1, n)])
    order = torch.randperm(n, generator=generator)
    shuffled = torch.empty(n, dtype=torch.long)
    shuffled[order] = torch.where(parent >= 0, order[parent], -1)
    return shuffled, torch.rand(n, generator=generator, dtype=torch.float64)


def as_graph(parent: torch.Tensor, length: torch.Tensor, p: float) -> torch.Tensor:
    node = (parent >= 0).nonzero()[:, 0]
    return Graph.from_edges(torch.stack([node, parent[node]]), length[node], len(parent), p=p).dense()


@pytest.mark.parametrize("n", [1, 2, 17])
@pytest.mark.parametrize("p", [1, 2, 1.5])
def test_paths_along_the_tree(n, p):
    parent, length = random_tree(n)
    assert_answers(Tree.from_parents(parent, length, p=p), as_graph(parent, length, p), tolerance=1e-9)


def test_chosen_nodes_and_a_forest():
    parent, length = random_tree(9)
    parent = torch.cat([parent, torch.tensor([-1, 9])])
    length = torch.cat([length, torch.tensor([5.0, 1.0], dtype=torch.float64)])
    sources, targets = torch.tensor([3, 10, 0, 3]), torch.tensor([9, 1, 2, 10, 4])
    geometry = Tree.from_parents(parent, length, sources=sources, targets=targets)
    wanted = as_graph(parent, length, 1)[sources][:, targets]
    assert wanted.isinf().any()
    assert_answers(geometry, wanted, tolerance=1e-9)


def test_batch_of_lengths():
    parent, _ = random_tree(6)
    length = torch.rand(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = torch.stack([as_graph(parent, each, 1) for each in length])
    geometry = Tree.from_parents(parent, length)
    assert_answers(geometry, wanted, tolerance=1e-9)
    torch.testing.assert_close(geometry[1].dense(), wanted[1])


def test_derivatives_reach_the_lengths():
    parent, length = random_tree(6)
    length.requires_grad_()

    def total(length):
        cost = Tree.from_parents(parent, length, p=2)
        zero = torch.zeros(6, dtype=torch.float64)
        return cost.dense().sin().sum() + cost._softmin(zero, zero, 0.5).sin().sum()

    assert torch.autograd.gradcheck(total, (length,))
    assert torch.autograd.gradgradcheck(total, (length,), fast_mode=True)


def test_tiny_edges_under_huge_ones_keep_their_digits():
    parent = torch.tensor([-1, 0, 1, 1])
    length = torch.tensor([0.0, 1e16, 1.0, 2.0], dtype=torch.float64)
    assert Tree.from_parents(parent, length).dense()[2, 3] == 3


@pytest.mark.parametrize(
    ("parent", "length", "options", "error", "message"),
    [
        ([1, 0], [1.0, 1.0], {}, InputError, "form a circle"),
        ([-1, 2], [1.0, 1.0], {}, InputError, r"parent must hold nodes in \[0, 1\]"),
        ([-1, 0], [1.0], {}, ShapeError, "one for each length"),
        ([-1, 0], [1.0, -1.0], {}, InputError, "non-negative"),
        ([-1, 0], [1.0, math.nan], {}, InputError, "NaN"),
        ([-1, 0], [1.0, 1.0], {"p": 0.0}, InputError, "p must lie"),
        ([-1, 0], [1.0, 1.0], {"sources": torch.tensor([2])}, InputError, r"sources must be nodes in \[0, 1\]"),
    ],
)
def test_errors_say_what_to_do(parent, length, options, error, message):
    with pytest.raises(error, match=message):
        Tree.from_parents(torch.tensor(parent), torch.tensor(length), **options)


def test_path_errors():
    path = torch.tensor([[0, 1]])
    with pytest.raises(ShapeError, match="the same depth"):
        Tree(torch.ones(2), path, path[:, :1])
    with pytest.raises(ShapeError, match=r"Tree\.from_parents"):
        Tree(torch.ones(2), path.float().round().int(), path)
    with pytest.raises(InputError, match="reaches from 0 to 1"):
        Tree(torch.ones(1), path, path)

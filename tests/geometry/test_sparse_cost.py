"""Costs of the pairs that may meet, beside a matrix in which all others cost infinity."""

from __future__ import annotations

import math

import pytest
import torch

from monge.errors import DtypeError, InputError, ShapeError
from monge.geometry import CostMatrix, SparseCost
from monge.testing import check_geometry

D = torch.float64


def some_pairs(n, m, *batch, share=0.5, dtype=D, seed=0):
    generator = torch.Generator().manual_seed(seed)
    i, j = (torch.rand(n, m, generator=generator) < share).nonzero(as_tuple=True)
    shuffled = torch.randperm(len(i), generator=generator)
    cost = torch.rand(*batch, len(i), generator=generator, dtype=D).to(dtype)
    return SparseCost(i[shuffled], j[shuffled], cost, n, m)


def dense_twin(geometry):
    cost = geometry.cost.new_full((*geometry.batch_shape, *geometry.shape), math.inf)
    cost[..., geometry.i, geometry.j] = geometry.cost
    return cost


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (4, 9)])
def test_answers_as_its_matrix(shape, batch):
    geometry = some_pairs(*shape, *batch, share=0.9 if shape == (1, 1) else 0.6)
    check_geometry(geometry, dense_twin(geometry))


def test_empty_rows_and_columns():
    cost = torch.rand(5, dtype=D)
    geometry = SparseCost(torch.tensor([0, 0, 2, 2, 4]), torch.tensor([1, 3, 1, 0, 3]), cost, 5, 5)
    twin = CostMatrix(dense_twin(geometry))
    g, log_b, v = torch.rand(5, dtype=D), torch.rand(5, dtype=D).log(), torch.rand(5, 2, dtype=D)
    for one, other in ((geometry, twin), (geometry.T, twin.T)):
        assert torch.equal(one.dense(), other.dense())
        torch.testing.assert_close(one._softmin(g, log_b, 0.1), other._softmin(g, log_b, 0.1))
        torch.testing.assert_close(one._apply(g, log_b, v, 0.1), other._apply(g, log_b, v, 0.1))
        assert torch.equal(one._ctransform(g)[0], other._ctransform(g)[0])
        assert (one._softmin(g, log_b, 0.1) == math.inf).sum() == 2


def test_reads_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    geometry = some_pairs(4, 6)
    twin = dense_twin(geometry)
    indices = torch.stack([geometry.i, geometry.j])
    listed = torch.sparse_coo_tensor(indices, geometry.cost, (4, 6), check_invariants=True)
    theirs = sparse.coo_array((geometry.cost.numpy(), (geometry.i.numpy(), geometry.j.numpy())), shape=(4, 6))
    for matrix in (listed, listed.coalesce(), theirs, theirs.tocsr(), theirs.tocsc()):
        assert torch.equal(SparseCost.of(matrix).dense(), twin)
    free = sparse.coo_array(([0.0, 2.0], ([0, 1], [0, 1])), shape=(2, 2))
    assert SparseCost.of(free).dense()[0, 0] == 0
    whole = sparse.coo_array(([3, 2], ([0, 1], [0, 1])), shape=(2, 2))
    assert SparseCost.of(whole).dtype == torch.get_default_dtype()


def test_gradients_reach_a_sparse_tensor():
    values = torch.rand(3, dtype=D, requires_grad=True)
    matrix = torch.sparse_coo_tensor(torch.tensor([[0, 0, 1], [0, 1, 1]]), values, (2, 2), check_invariants=True)
    SparseCost.of(matrix).cost.sum().backward()
    assert torch.equal(values.grad, torch.ones(3, dtype=D))


@pytest.mark.parametrize(
    ("i", "j", "cost", "error", "told"),
    [
        ([0, 2], [0, 1], [1.0, 1.0], InputError, "i must lie between 0 and 1, but goes from 0 to 2"),
        ([0, 1], [0, -1], [1.0, 1.0], InputError, "j must lie between 0 and 2"),
        ([0, 0], [1, 1], [1.0, 2.0], InputError, r"\(0, 1\) is there twice"),
        ([0, 1], [0, 1], [1.0, math.inf], InputError, "cost"),
        ([0, 1], [0, 1], [1.0, math.nan], InputError, "cost"),
        ([0, 1], [0, 1], [1.0], ShapeError, "must list the same pairs"),
        ([], [], [], InputError, "at least one pair"),
        ([0, 1], [0, 1], [True, True], DtypeError, "cost"),
    ],
)
def test_lists_are_checked(i, j, cost, error, told):
    cost = torch.tensor(cost) if cost else torch.zeros(0)
    i, j = (torch.tensor(index, dtype=torch.long) for index in (i, j))
    with pytest.raises(error, match=told):
        SparseCost(i, j, cost, 2, 3)


def test_strange_matrices_are_refused():
    with pytest.raises(InputError, match=r"a dense matrix is CostMatrix\(matrix\)"):
        SparseCost.of(torch.rand(2, 2))
    with pytest.raises(InputError, match="but is list"):
        SparseCost.of([[1.0]])
    with pytest.raises(ShapeError, match="two dimensions"):
        SparseCost.of(torch.rand(2, 2, 2).to_sparse())
    with pytest.raises(InputError, match="whole numbers"):
        SparseCost(torch.rand(2), torch.tensor([0, 1]), torch.rand(2), 2, 2)

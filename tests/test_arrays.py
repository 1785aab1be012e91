"""One way to index batches, compared with the tensors that it stands for."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

import monge
from monge._arrays import explicit, pick, root
from monge.coupling import DenseCoupling, ProductCoupling, SparseCoupling
from monge.geometry import Circle, CostMatrix, Geometry, Graph, Grid, Line, LowRankCost, PointCloud, Sphere, Tree
from monge.problem import AtMost, Fixed, Linear, Relaxed
from monge.testing import couplings
from sweep import sweep


def some_index(draw: random.Random, batch: tuple[int, ...]) -> Any:
    """Any index that a tensor of that shape takes: numbers, slices, None, lists, tensors, masks and an ellipsis."""
    if draw.random() < 0.1:
        return torch.tensor([draw.random() < 0.6 for _ in range(max(1, torch.Size(batch).numel()))]).reshape(batch)
    parts: list[Any] = []
    cut = draw.randint(0, len(batch))
    ellipsis_at = draw.choice([None, cut]) if cut < len(batch) else draw.choice([None, cut, cut])
    sizes = list(enumerate(batch))
    length = draw.randint(2, 3)
    for place, size in sizes:
        if ellipsis_at is None and place == cut:
            break
        if ellipsis_at == place:
            parts.append(...)
            skipped = draw.randint(0, len(batch) - place)
            sizes_left = batch[place + skipped :]
            parts += [_part(draw, other, length) for other in sizes_left]
            break
        parts.append(_part(draw, size, length))
    if ellipsis_at == len(batch):
        parts.append(...)
    for _ in range(draw.choice([0, 0, 1, 2])):
        parts.insert(draw.randint(0, len(parts)), None)
    return parts[0] if len(parts) == 1 and draw.random() < 0.5 else tuple(parts)


def _part(draw: random.Random, size: int, length: int) -> Any:
    kind = draw.randrange(6)
    if kind == 0:
        return draw.randrange(-size, size)
    if kind == 1:
        return slice(draw.choice([None, 0, 1, -1]), draw.choice([None, size, -1]), draw.choice([None, 1, 2]))
    if kind == 2:
        return [draw.randrange(-size, size) for _ in range(length)]
    if kind == 3:
        return torch.tensor([draw.randrange(-size, size) for _ in range(length)])
    if kind == 4:
        mask = torch.zeros(size, dtype=torch.bool)
        mask[draw.randrange(size)] = True
        return mask
    return slice(None)


def a_geometry(kind: int, batch: tuple[int, ...], generator: torch.Generator) -> Geometry:
    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1

    whole, tail = batch, batch[1:]
    parent = torch.tensor([-1, 0, 0, 1])
    made = [
        lambda: PointCloud(rand(*whole, 4, 2), rand(*tail, 3, 2)),
        lambda: PointCloud(rand(*tail, 4, 2), rand(*whole, 3, 2), lambda x, y: (x - y).abs().sum(-1)),
        lambda: CostMatrix(rand(*whole, 4, 3)),
        lambda: Line(rand(*whole, 4), rand(*tail, 3), p=1.5),
        lambda: Circle(rand(*tail, 4), rand(*whole, 3)),
        lambda: Sphere(rand(*whole, 4, 3), rand(*tail, 3, 3)),
        lambda: Tree.from_parents(parent, rand(*whole, 4)),
        lambda: LowRankCost(rand(*whole, 4, 2), rand(*tail, 3, 2)),
        lambda: Grid((Line(rand(*whole, 2), rand(2)), CostMatrix(rand(*tail, 2, 3)))),
        lambda: PointCloud(rand(*tail, 4, 2), rand(*whole, 3, 2)) + rand(*whole) * CostMatrix(rand(4, 3)),
        lambda: Graph.from_edges(torch.tensor([[0, 1], [1, 2]]), rand(2)) * rand(*whole),
    ]
    return made[kind % len(made)]()


def some_indices(draw: random.Random, batch: tuple[int, ...]) -> list[Any]:
    """Indices that everyone writes, whatever the batch, and some of any kind."""
    mask = torch.tensor([draw.random() < 0.6 for _ in range(torch.Size(batch).numel())]).reshape(batch)
    first = [(0, ...), (..., -1), slice(1, None), torch.tensor([0, -1])] if batch else [torch.tensor(True)]
    return [..., None, (), (None, ...), (..., None), mask, *first, *(some_index(draw, batch) for _ in range(4))]


@pytest.mark.parametrize("batch", [(), (1,), (2,), (2, 3)])
def test_every_plan_is_indexed_as_its_tensor_is(batch: tuple[int, ...]) -> None:
    draw = random.Random(7)
    for example in couplings(shapes=[(3, 4), (3, 3)], batches=[batch], zeros=[True]):
        P = example.coupling
        dense = P.dense()
        shape = dense.shape[:-2]
        for index in some_indices(draw, tuple(shape)):
            told = f"{example}, index {index!r}"
            try:
                places = torch.arange(shape.numel()).reshape(shape)[index]
            except IndexError:
                with pytest.raises(monge.errors.InputError, match="is no valid index"):
                    P[index]
                continue
            found = P[index]
            assert found.batch_shape == places.shape, told
            if places.numel():
                wanted = dense.reshape(-1, *dense.shape[-2:])[places]
                torch.testing.assert_close(found.dense(), wanted, rtol=1e-10, atol=1e-14, msg=told)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_every_geometry_and_side_is_indexed_without_a_batch_too(batch: tuple[int, ...]) -> None:
    draw, generator = random.Random(8), torch.Generator().manual_seed(8)
    for kind in range(11) if batch else (0, 2, 3, 4, 5, 6, 7):
        geometry = a_geometry(kind, batch, generator)
        weights = torch.rand(*batch, 4, generator=generator)
        for index in some_indices(draw, batch):
            places = torch.arange(torch.Size(batch).numel()).reshape(batch)[index]
            if places.numel() == 0:
                continue
            dense = geometry.dense().reshape(-1, *geometry.shape)[places]
            torch.testing.assert_close(geometry[index].dense(), dense)
            wanted = weights.reshape(-1, 4)[places]
            shape = torch.Size(batch)
            assert torch.equal(pick(weights, 1, shape, index), wanted)
            for side in (Fixed(weights), AtMost(weights), Relaxed(weights, 0.5)):
                assert torch.equal(side._select(index, shape).weights, wanted)


@sweep(default=200)
def test_every_value_is_indexed_as_its_tensor_is(seeds: range) -> None:
    for seed in seeds:
        draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        batch = tuple(draw.randint(1, 3) for _ in range(draw.randint(1, 3)))
        index = some_index(draw, batch)
        told = f"seed {seed}, batch {batch}, index {index!r}"
        geometry = a_geometry(seed, batch, generator)
        dense = geometry.dense()
        assert dense.shape[:-2] == batch, told
        try:
            places = torch.arange(dense[..., 0, 0].numel()).reshape(batch)[index]
        except IndexError:
            with pytest.raises(monge.errors.InputError, match="is no valid index"):
                geometry[index]
            continue
        wanted = dense.reshape(-1, *dense.shape[-2:])[places]
        found = geometry[index]
        assert found.batch_shape == places.shape, told
        if places.numel() == 0:
            continue
        assert torch.allclose(found.dense(), wanted, rtol=1e-12), f"{told}: {type(geometry).__name__}"
        assert torch.allclose(geometry.T[index].dense(), wanted.mT), told
        _compare_problem(geometry, index, places, batch, generator, told)


def _compare_problem(geometry: Geometry, index, places, batch, generator, told: str) -> None:
    n, m = geometry.shape
    a = torch.rand(*batch[1:], n, generator=generator, dtype=torch.float64) + 0.1
    rho = torch.rand(batch[-1:], generator=generator, dtype=torch.float64) + 0.1
    problem = Linear(geometry, Relaxed(a, rho), AtMost(torch.ones(m, dtype=torch.float64)), epsilon=rho)
    chosen = problem._select(index)
    flat = places.reshape(-1)

    def picked(held: Tensor, core: int) -> Tensor:
        inner = held.shape[held.ndim - core :]
        rows = held.expand(*batch, *inner).reshape((-1, *inner))
        return rows[flat].reshape((*places.shape, *inner))

    assert torch.equal(chosen.a, picked(a, 1)), told
    assert torch.equal(chosen.epsilon, picked(rho, 0)), told
    assert torch.equal(chosen.source.rho, picked(rho, 0)), told
    assert chosen.batch_shape == places.shape, told
    for P in (
        DenseCoupling(geometry.dense()),
        ProductCoupling(a.expand(*batch, n), (a.sum(-1, keepdim=True) / m).expand(*batch[1:], m)),
        SparseCoupling(*torch.zeros(2, *batch, 2, dtype=torch.long), a.expand(*batch, n)[..., :2], n=n, m=m),
    ):
        assert torch.equal(P[index].dense(), picked(P.dense(), 2)), f"{told}: {type(P).__name__}"


def test_an_index_is_made_explicit() -> None:
    batch = torch.Size([2, 3, 4])
    assert explicit((..., 0), batch) == (slice(None), slice(None), 0)
    assert explicit((None, ..., 1), batch) == (None, slice(None), slice(None), 1)
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert explicit((mask, ...), batch)[1:] == (slice(None),)
    with pytest.raises(IndexError):
        explicit((0, 0, 0, 0), batch)
    assert pick(0.5, 0, batch, (..., 0)) == 0.5
    assert pick(torch.arange(4), 0, batch, (0, ..., 1)).tolist() == [1, 1, 1]


def test_a_root_keeps_what_is_no_number() -> None:
    x = torch.tensor([0.0, 8.0, float("nan"), float("inf"), -1e-30], requires_grad=True)
    found = root(x, 3.0)
    assert found[:2].tolist() == [0.0, 2.0]
    assert bool(found[2].isnan())
    assert found[3:].tolist() == [float("inf"), 0.0]
    found[:2].sum().backward()
    assert x.grad[:2].tolist() == pytest.approx([0.0, 1 / 12])


def test_fixed_weights_are_shared_by_the_batch() -> None:
    side = Fixed(torch.ones(3))
    assert side._select((..., 0), torch.Size([2, 5])).weights.shape == (2, 3)

"""Plans that are computed while a loop trains: those of `couple`, in order, and no thread is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import monge
from monge.errors import InputError

Batch = tuple[Tensor, Tensor, int]


def batches(count: int = 6, *shape: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(3)
    for k in range(count):
        yield *(torch.randn(*(shape or (20, 2)), generator=generator) for _ in range(2)), k  # type: ignore[misc]


def workers() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("monge-couple")}


@pytest.mark.parametrize(("ahead", "count"), [(0, 1), (1, 1), (3, 2), (40, 3)])
@pytest.mark.parametrize("options", [{}, {"epsilon": monge.relative(0.1)}, {"mass": 0.5}, {"cost": "euclidean"}])
def test_plans_are_those_of_couple(ahead: int, count: int, options: dict[str, Any]) -> None:
    found = list(monge.couple_ahead(batches(), ahead=ahead, workers=count, **options))
    assert [batch[2] for batch, _ in found] == list(range(6))
    for (x, y, _), (batch, plan) in zip(batches(), found, strict=True):
        torch.testing.assert_close(batch[:2], (x, y), rtol=0, atol=0)
        torch.testing.assert_close(plan.dense(), monge.couple(x, y, **options).dense(), rtol=0, atol=0)
    assert not workers()


def test_several_problems_a_batch() -> None:
    for (x, y, _), plan in monge.couple_ahead(batches(3, 4, 10, 3)):
        assert plan.shape == (4, 10, 10)
        torch.testing.assert_close(plan.dense(), monge.couple(x, y).dense())


def test_the_next_plan_is_computed_during_a_step() -> None:
    begun = [threading.Event() for _ in range(4)]
    threads = set()

    def cost(x: Tensor, y: Tensor) -> Tensor:
        threads.add(threading.current_thread().name)
        begun[int(x.flatten()[0])].set()
        return (x - y).square().sum(-1)

    given = [(torch.full((5, 1), float(k)), torch.randn(5, 1)) for k in range(4)]
    for k, _ in enumerate(monge.couple_ahead(given, cost=cost, ahead=2)):
        # The loop asks for nothing more before the next two plans have been begun; a minute is for ever.
        assert all(event.wait(60) for event in begun[: k + 3])
    assert threads
    assert all(name.startswith("monge-couple") for name in threads)


def test_batches_are_fetched_in_the_thread_of_the_loop() -> None:
    fetched: list[tuple[int, str]] = []

    def told() -> Iterator[Batch]:
        for batch in batches():
            fetched.append((batch[2], threading.current_thread().name))
            yield batch

    counts = [len(fetched) for _ in monge.couple_ahead(told(), ahead=2)]
    assert counts == [3, 4, 5, 6, 6, 6]
    assert {name for _, name in fetched} == {threading.current_thread().name}


def test_an_error_comes_in_its_turn() -> None:
    given = list(batches())
    given[2] = (given[2][0] * torch.nan, *given[2][1:])
    found = monge.couple_ahead(given, ahead=4, workers=2)
    assert [next(found)[0][2] for _ in range(2)] == [0, 1]
    with pytest.raises(InputError, match="x must hold neither NaN"):
        next(found)
    assert next(found, None) is None
    assert not workers()


def test_a_loop_may_be_left() -> None:
    for batch, _ in monge.couple_ahead(batches(1000), ahead=5, workers=2):
        if batch[2] == 2:
            break
    del batch
    assert not workers()


def test_plans_are_constants() -> None:
    x, y = (torch.randn(8, 2, requires_grad=True) for _ in range(2))
    ((batch, plan),) = monge.couple_ahead([(x, y)], epsilon=0.5)
    assert batch[0] is x
    assert not plan.dense().requires_grad
    (x[plan.pair()[0]] - y).square().sum().backward()
    assert x.grad is not None


def test_loaders_and_arrays() -> None:
    data = TensorDataset(torch.randn(32, 2), torch.arange(32))
    pairs = ((torch.randn(len(y), 2), y, labels) for y, labels in DataLoader(data, batch_size=8))
    assert sum(len(batch[2]) for batch, _ in monge.couple_ahead(pairs)) == 32
    ((_, plan),) = monge.couple_ahead([(np.zeros((3, 1)), np.ones((3, 1)))])
    assert float(plan.transport_cost()) == pytest.approx(1)
    assert list(monge.couple_ahead([])) == []


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: monge.couple_ahead([], ahead=-1), "ahead must be an integer, at least 0"),
        (lambda: monge.couple_ahead([], workers=0), "workers must be a positive integer"),
        (lambda: list(monge.couple_ahead([torch.zeros(3, 2)])), "but one is Tensor"),
        (lambda: list(monge.couple_ahead([(torch.zeros(3, 2),)])), "but one is a sequence of 1"),
        (lambda: list(monge.couple_ahead([None])), "but one is NoneType"),  # type: ignore[list-item]
        (lambda: list(monge.couple_ahead([(torch.zeros(3, 2), torch.zeros(3, 1))])), "one dimension"),
        (lambda: list(monge.couple_ahead([(torch.zeros(3, 1), torch.zeros(3, 1))], cost="far")), "far"),
    ],
)
def test_errors_say_what_to_do(call: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        call()

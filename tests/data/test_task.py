"""Tasks: what a trainer may rely on is checked when a task is made."""

from __future__ import annotations

import pytest
import torch

from monge.data import Split, Task
from monge.errors import DtypeError, InputError, ShapeError

PART = Split(torch.tensor([[1, 2, 0], [2, 2, 1], [0, 0, 0]], dtype=torch.uint8), torch.tensor([0, 1, 1]))


def test_a_task_tells_its_length_and_its_majority() -> None:
    longer = Split(torch.zeros(1, 5, dtype=torch.int64), torch.tensor([0]))
    task = Task("toy", PART, longer, PART, vocabulary=3, classes=2)
    assert (len(task.train), task.length, task.pad) == (3, 5, None)
    assert task.majority_rate == 2 / 3


def test_pairs_of_sequences_are_sequences() -> None:
    pairs = Split(torch.zeros(4, 2, 7, dtype=torch.int16), torch.zeros(4, dtype=torch.int64))
    assert Task("pairs", pairs, pairs, pairs, vocabulary=1, classes=1).length == 7


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((3, 2), (2,)), ((3, 2), (3, 1)), ((1, 2, 3, 4), (1,))])
def test_one_label_a_row(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    tokens, labels = (torch.zeros(shape, dtype=torch.int64) for shape in shapes)
    # Where shapes are checked as types, the checker is faster.
    with pytest.raises(Exception, match=r"tokens|labels|shape") as caught:
        Split(tokens, labels)
    assert isinstance(caught.value, ShapeError) or "type" in str(caught.value)


@pytest.mark.parametrize("wrong", [0, 1])
def test_integers_only(wrong: int) -> None:
    held = [torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)]
    held[wrong] = held[wrong].double()
    with pytest.raises(Exception, match=r"tokens|labels") as caught:
        Split(*held)
    assert isinstance(caught.value, DtypeError) or "type" in str(caught.value)


@pytest.mark.parametrize(
    ("vocabulary", "classes", "told"),
    [
        (2, 2, r"tokens of train of the task 'toy' must lie in 0..1, but reach from 0 to 2"),
        (3, 1, r"labels of train of the task 'toy' must lie in 0..0, but reach from 0 to 1"),
    ],
)
def test_out_of_range(vocabulary: int, classes: int, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Task("toy", PART, PART, PART, vocabulary=vocabulary, classes=classes)


def test_no_empty_part() -> None:
    empty = Split(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InputError, match="valid of the task 'toy' is empty"):
        Task("toy", PART, empty, PART, vocabulary=3, classes=2)

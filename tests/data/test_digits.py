"""Digits: the pictures are those of scikit-learn, each in one part, and enlarging them changes nothing else."""

from __future__ import annotations

import sys

import pytest
import torch

from monge.data import Task, digits
from monge.errors import InputError

sklearn_datasets = pytest.importorskip("sklearn.datasets")


def parts(task: Task) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(split.tokens, split.labels) for split in (task.train, task.valid, task.test)]


def test_every_picture_is_in_one_part() -> None:
    held = sklearn_datasets.load_digits()
    task = digits()
    assert (task.vocabulary, task.classes, task.pad, task.length) == (17, 10, None, 64)
    tokens, labels = (torch.cat(column) for column in zip(*parts(task), strict=True))
    ours = sorted([*row, label] for row, label in zip(tokens.tolist(), labels.tolist(), strict=True))
    theirs = sorted([*map(int, row), int(label)] for row, label in zip(held.data, held.target, strict=True))
    assert ours == theirs


def test_parts_are_stratified() -> None:
    of_class = torch.tensor(sklearn_datasets.load_digits().target).bincount()
    for share, (_, labels) in zip((0.7, 0.1, 0.2), parts(digits()), strict=True):
        assert (labels.bincount(minlength=10) - share * of_class).abs().max() <= 1


def test_the_seed_decides() -> None:
    one, again, other = digits(seed=3), digits(seed=3), digits(seed=4)
    assert all(
        torch.equal(a, b) for x, y in zip(parts(one), parts(again), strict=True) for a, b in zip(x, y, strict=True)
    )
    assert not torch.equal(one.test.tokens, other.test.tokens)


@pytest.mark.parametrize("enlarged", [2, 4])
def test_enlarging(enlarged: int) -> None:
    small, large = digits().valid, digits(length=64 * enlarged**2).valid
    assert torch.equal(small.labels, large.labels)
    pictures = large.tokens.unflatten(1, (8, enlarged, 8, enlarged))
    expected = small.tokens.unflatten(1, (8, 1, 8, 1)).expand_as(pictures)
    assert torch.equal(pictures, expected)


@pytest.mark.parametrize(
    ("length", "told"),
    [(512, "take 256 or 576"), (63, "an integer, at least 64"), (65, "take 64 or 256")],
)
def test_lengths_that_no_enlargement_gives(length: int, told: str) -> None:
    with pytest.raises(InputError, match=told):
        digits(length=length)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"scikit-learn, which is missing: pip install 'monge\[embed\]'"):
        digits()

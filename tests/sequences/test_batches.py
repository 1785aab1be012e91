"""Batches: an order that is a function of seed and step, sequences cut to the longest."""

from __future__ import annotations

import pytest
import torch

from monge.data import Split
from monge.errors import InputError
from monge.sequences import Batches
from monge.sequences.batches import in_order, lengths
from monge.train import World

from .toy import toy


def rows(batch) -> list[tuple[int, ...]]:
    return [tuple(row[row != 0].tolist()) for row in batch.tokens]


def numbered(count: int, n: int = 12) -> Split:
    """Sequences of various lengths, told apart by their labels."""
    tokens = torch.ones(count, n, dtype=torch.uint8)
    tokens[torch.arange(n) >= torch.randint(1, n + 1, (count, 1))] = 0
    return Split(tokens, torch.arange(count))


@pytest.mark.parametrize("bucket", [False, True])
def test_an_epoch_is_a_permutation(bucket: bool) -> None:
    split = numbered(103)
    batches = Batches(split, 10, pad=0, seed=1, bucket=bucket)
    assert batches.order.per_epoch == 10
    epochs = [[int(k) for step in range(e * 10, e * 10 + 10) for k in batches[step].labels] for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 100
    assert epochs[0] != epochs[1]
    # No state: any step at any time, in any object with the same seed.
    again = Batches(split, 10, pad=0, seed=1, bucket=bucket)
    for step in (25, 3, 17, 3):
        assert torch.equal(again[step].labels, batches[step].labels)
    assert not torch.equal(Batches(split, 10, pad=0, seed=2, bucket=bucket)[0].labels, batches[0].labels)


def test_buckets_hold_less_padding_in_random_order() -> None:
    split = numbered(4000, n=60)
    plain, sorted_ = (Batches(split, 20, pad=0, seed=0, bucket=bucket) for bucket in (False, True))
    widths = [[held[step].tokens.shape[1] for step in range(200)] for held in (plain, sorted_)]
    assert sum(widths[1]) < 0.65 * sum(widths[0])
    half = torch.tensor(widths[1]).float()
    assert abs(float(half[:100].mean() / half[100:].mean()) - 1) < 0.15


def test_batches_are_cut_and_masked() -> None:
    task = toy()
    for batch in in_order(task.train, 7, pad=0):
        assert (batch.tokens != 0).flatten(1).any(0).reshape(-1)[-1] or batch.tokens.shape[1] == 1
        if batch.padding is not None:
            assert torch.equal(batch.padding, batch.tokens == 0)
    every = [k for batch in in_order(task.train, 7, pad=0) for k in rows(batch)]
    assert sorted(every) == sorted(tuple(row[row != 0].tolist()) for row in task.train.tokens)


def test_nothing_is_masked_where_zero_is_a_value() -> None:
    task = toy(pad=False)
    assert all(batch.padding is None and batch.tokens.shape[1] == 9 for batch in in_order(task.train, 8, pad=None))


def test_lengths() -> None:
    tokens = torch.tensor([[1, 0, 2, 0], [0, 0, 0, 0], [5, 5, 5, 5]])
    assert lengths(tokens, 0).tolist() == [3, 1, 4]
    assert lengths(tokens, None).tolist() == [4, 4, 4]
    assert lengths(torch.stack([tokens, tokens.flip(0)], 1), 0).tolist() == [4, 1, 4]


def test_processes_share_a_batch() -> None:
    split = numbered(40)
    whole = Batches(split, 8, pad=0, seed=0)[3].labels
    shares = [Batches(split, 8, pad=0, seed=0, world=World(rank, 2))[3].labels for rank in range(2)]
    assert torch.equal(torch.stack(shares, 1).flatten(), whole)
    with pytest.raises(InputError, match="multiple of the number of processes"):
        Batches(split, 9, pad=0, seed=0, world=World(0, 2))
    dealt = [batch.labels for rank in range(3) for batch in in_order(split, 4, pad=0, world=World(rank, 3))]
    assert sorted(torch.cat(dealt).tolist()) == list(range(40))


def test_fewer_sequences_than_a_batch() -> None:
    assert len(Batches(numbered(5), 32, pad=0, seed=0)[0].labels) == 5

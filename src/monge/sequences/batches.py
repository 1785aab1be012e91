"""Batches of sequences in an order that depends on nothing but a seed and the step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from monge.data import Split
from monge.train import Order, World, dealt

__all__ = ["Batch", "Batches", "in_order"]


class Batch(NamedTuple):
    """Sequences cut to the longest of them.

    Args:
        tokens: (batch, length) or (batch, 2, length).
        padding: True where a token is absent, None if none is.
        labels: (batch,).
    """

    tokens: Tensor
    padding: Tensor | None
    labels: Tensor


class Batches:
    """The batch of any step, in the `monge.train.Order` of a seed.

    Args:
        split: sequences and labels.
        size: sequences in a batch, all processes together.
        pad: the id that stands for absence.
        seed: of the order.
        bucket: sort pools of batches by length.
        world: the processes that share every batch; one if None.

    Raises:
        InputError: a batch cannot be shared equally.

    Example:
        >>> import torch
        >>> from monge.data import Split
        >>> from monge.sequences import Batches
        >>> split = Split(torch.tensor([[1, 0, 0], [1, 2, 0], [3, 0, 0], [2, 1, 0]]), torch.arange(4))
        >>> batches = Batches(split, 2, pad=0, seed=0)
        >>> sorted([*batches[0].labels.tolist(), *batches[1].labels.tolist()])
        [0, 1, 2, 3]
        >>> max(batches[step].tokens.shape[1] for step in range(9))
        2
    """

    def __init__(
        self, split: Split, size: int, *, pad: int | None, seed: int, bucket: bool = False, world: World | None = None
    ) -> None:
        self.split, self.pad, self.lengths = split, pad, lengths(split.tokens, pad)
        self.order = Order(len(split), size, seed=seed, alike=self.lengths if bucket else None, world=world)

    def __getitem__(self, step: int) -> Batch:
        """The share of this process in the batch of a step, the first being 0."""
        return cut(self.split, self.order[step], self.pad, self.lengths)


def in_order(split: Split, size: int, *, pad: int | None, world: World | None = None) -> Iterator[Batch]:
    """Every sequence once, by length, in batches dealt out to the processes."""
    long = lengths(split.tokens, pad)
    for index in dealt(len(split), size, alike=long, world=world):
        yield cut(split, index, pad, long)


def cut(split: Split, index: Tensor, pad: int | None, long: Tensor) -> Batch:
    """The sequences of an index, without the positions where all of them are padded."""
    tokens = split.tokens[index][..., : int(long[index].max()) if len(index) else 1]
    padding = None if pad is None else tokens == pad
    if padding is not None and not bool(padding.any()):
        padding = None
    return Batch(tokens, padding, split.labels[index].long())


def lengths(tokens: Tensor, pad: int | None) -> Tensor:
    """Positions up to the last token that is present, at least one; the longer of the two for pairs."""
    n = tokens.shape[-1]
    if pad is None:
        return torch.full(tokens.shape[:1], n)
    place = torch.arange(1, n + 1, dtype=torch.int32)
    # In pieces: the masks of a whole split would take several times its memory.
    found = [((part != pad) * place).flatten(1).amax(-1) for part in tokens.split(4096)]
    return torch.cat(found).long().clamp_min(1)

"""Batches in an order that depends on nothing but a seed and the step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..data import Split
from ..errors import InputError

__all__ = ["Batch", "Batches", "in_order", "mixed"]

# Batches that are sorted by length together: sequences of a batch are alike, batches stay random.
_POOL = 32


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

    def to(self, device: torch.device) -> Batch:
        """The same batch elsewhere."""
        padding = None if self.padding is None else self.padding.to(device, non_blocking=True)
        return Batch(
            self.tokens.to(device, non_blocking=True), padding, self.labels.to(device, non_blocking=True).long()
        )


class Batches:
    """The batch of any step: an epoch is a permutation, drawn from the seed and its number, cut into batches.

    Nothing has to be remembered to go on after an interruption. What is left over at the end of an epoch is not used
    in it.

    Args:
        split: sequences and labels.
        size: sequences in a batch, all processes together.
        pad: the id that stands for absence.
        seed: of the order.
        bucket: sort pools of batches by length.
        rank: which share of every batch this process takes.
        world: how many processes share it.

    Raises:
        InputError: a batch cannot be shared equally.

    Example:
        >>> import torch
        >>> from monge.data import Split
        >>> from monge.train import Batches
        >>> split = Split(torch.tensor([[1, 0, 0], [1, 2, 0], [3, 0, 0], [2, 1, 0]]), torch.arange(4))
        >>> batches = Batches(split, 2, pad=0, seed=0)
        >>> sorted([*batches[0].labels.tolist(), *batches[1].labels.tolist()])
        [0, 1, 2, 3]
        >>> max(batches[step].tokens.shape[1] for step in range(9))
        2
    """

    def __init__(
        self,
        split: Split,
        size: int,
        *,
        pad: int | None,
        seed: int,
        bucket: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        size = min(size, len(split) // world * world)
        if size == 0 or size % world:
            raise InputError(
                f"batch must be a multiple of the number of processes, but {size or len(split)} sequences are shared "
                f"by {world}."
            )
        self.split, self.size, self.pad, self.seed = split, size, pad, seed
        self.bucket, self.rank, self.world = bucket, rank, world
        self.per_epoch = len(split) // size
        self.lengths = lengths(split.tokens, pad)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __getitem__(self, step: int) -> Batch:
        """The share of this process in the batch of a step, the first being 0."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._draw(epoch)
        index = self._order[place * self.size : (place + 1) * self.size][self.rank :: self.world]
        return cut(self.split, index, self.pad, self.lengths)

    def _draw(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(mixed(self.seed, epoch))
        order = torch.randperm(len(self.split), generator=generator)[: self.per_epoch * self.size]
        if not self.bucket:
            return order
        pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(_POOL * self.size)]
        batches = torch.cat(pools).view(self.per_epoch, self.size)
        return batches[torch.randperm(self.per_epoch, generator=generator)].flatten()


def in_order(split: Split, size: int, *, pad: int | None, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    """Every sequence once, by length, in batches dealt out to the processes."""
    long = lengths(split.tokens, pad)
    for index in long.argsort(stable=True).split(size)[rank::world]:
        yield cut(split, index, pad, long)


def cut(split: Split, index: Tensor, pad: int | None, long: Tensor) -> Batch:
    """The sequences of an index, without the positions where all of them are padded."""
    tokens = split.tokens[index][..., : int(long[index].max()) if len(index) else 1]
    padding = None if pad is None else tokens == pad
    if padding is not None and not bool(padding.any()):
        padding = None
    return Batch(tokens, padding, split.labels[index])


def lengths(tokens: Tensor, pad: int | None) -> Tensor:
    """Positions up to the last token that is present, at least one; the longer of the two for pairs."""
    n = tokens.shape[-1]
    if pad is None:
        return torch.full(tokens.shape[:1], n)
    place = torch.arange(1, n + 1, dtype=torch.int32)
    # In pieces: the masks of a whole split would take several times its memory.
    found = [((part != pad) * place).flatten(1).amax(-1) for part in tokens.split(4096)]
    return torch.cat(found).long().clamp_min(1)


def mixed(*numbers: int | str) -> int:
    """One seed made of several numbers, such that neighbours have nothing in common."""
    told = "/".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=7).digest(), "big")

"""The items of any step, as a function of a seed and the number of the step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from monge.errors import InputError

from .seeds import mixed
from .world import World

__all__ = ["Order", "dealt"]

# Batches that are sorted together: items of a batch are alike, batches stay random.
_POOL = 32


class Order:
    """The order of the items: each epoch is a permutation, drawn from the seed and its number, and cut into batches.

    Nothing has to be stored to continue after an interruption. Items that are left over at the end of an epoch are not
    used in this epoch.

    Args:
        count: how many items there are.
        size: items in a batch, of all processes together; all items if there are fewer.
        seed: seed of the order.
        alike: a number for every item, such as its length; a batch then has items with similar numbers.
        world: the processes among which every batch is divided; one process if None.

    Raises:
        InputError: a batch cannot be divided equally.

    Example:
        >>> from monge.train import Order
        >>> order = Order(6, 3, seed=0)
        >>> sorted([*order[0].tolist(), *order[1].tolist()])
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(
        self, count: int, size: int, *, seed: int, alike: Tensor | None = None, world: World | None = None
    ) -> None:
        self.world = world or World()
        size = min(size, count // self.world.size * self.world.size)
        if size == 0 or size % self.world.size:
            raise InputError(
                f"batch must be a multiple of the number of processes, but {size or count} items are divided among "
                f"{self.world.size}: choose a multiple, or start fewer processes."
            )
        self.count, self.size, self.seed, self.alike = count, size, seed, alike
        self.per_epoch = count // size
        self._epoch, self._drawn = -1, torch.empty(0, dtype=torch.long)

    def __getitem__(self, step: int) -> Tensor:
        """Which items this process sees at a step, the first being 0."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._drawn = epoch, self._draw(epoch)
        whole = self._drawn[place * self.size : (place + 1) * self.size]
        return whole[self.world.rank :: self.world.size]

    def _draw(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(mixed(self.seed, epoch))
        drawn = torch.randperm(self.count, generator=generator)[: self.per_epoch * self.size]
        if self.alike is None:
            return drawn
        pools = [pool[self.alike[pool].argsort(stable=True)] for pool in drawn.split(_POOL * self.size)]
        batches = torch.cat(pools).view(self.per_epoch, self.size)
        return batches[torch.randperm(self.per_epoch, generator=generator)].flatten()


def dealt(count: int, size: int, *, alike: Tensor | None = None, world: World | None = None) -> Iterator[Tensor]:
    """Every item once, in batches that are divided among the processes; items of the smallest ``alike`` come first."""
    world = world or World()
    index = torch.arange(count) if alike is None else alike.argsort(stable=True)
    yield from index.split(size)[world.rank :: world.size]

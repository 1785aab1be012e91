"""The data of a run: a batch for every step, parts for evaluation, and a description."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .order import Order, dealt
from .world import World

__all__ = ["Data", "checksum"]


def _one(batch: Any) -> dict[str, int]:
    return {"batches": 1}


@dataclass(frozen=True)
class Data:
    """The data of a run: a batch for every step, and parts for evaluation.

    A batch is made of tensors, tuples, lists and dictionaries, and is moved to the device of the run.

    Args:
        batch: a function of the number of a step, which starts at 0. It returns the share of this process in the batch
            and depends on the step only, so that nothing has to be stored to continue after an interruption.
        splits: parts for evaluation, by name; each is a function that returns the batches of this process. ``"valid"``
            is evaluated during training and decides which weights are kept; all others are evaluated once, at the end.
        describe: plain data that describe the data; a run continues only with data of the same description.
        amounts: how much a batch holds, by name; the speed of a run is given in these units.

    Example:
        >>> import torch
        >>> from monge.train import Data
        >>> x = torch.arange(6.0)
        >>> data = Data.of_tensors({"train": (x, 2 * x), "valid": (x[:2], 2 * x[:2])}, size=3, seed=0)
        >>> [len(data.batch(step)[0]) for step in range(4)], len(list(data.splits["valid"]()))
        ([3, 3, 3, 3], 1)
    """

    batch: Callable[[int], Any]
    splits: Mapping[str, Callable[[], Iterable[Any]]] = field(default_factory=dict)
    describe: Mapping[str, Any] = field(default_factory=dict)
    amounts: Callable[[Any], Mapping[str, int]] = _one

    @classmethod
    def of_tensors(
        cls, parts: Mapping[str, tuple[Tensor, ...]], *, size: int, seed: int = 0, world: World | None = None
    ) -> Data:
        """Tensors whose first axis counts items, in an order drawn from a seed; batches are tuples of their rows.

        Args:
            parts: tensors by name of the part: ``"train"`` is for training, the others are for evaluation.
            size: items in a batch, of all processes together.
            seed: seed of the order.
            world: the processes among which every batch is divided; the processes that are connected now if None.

        Raises:
            InputError: a batch cannot be divided equally among the processes.
        """
        shared = World.current() if world is None else world
        train = parts["train"]
        order = Order(len(train[0]), size, seed=seed, world=shared)

        def batches(held: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
            return (_rows(held, index) for index in dealt(len(held[0]), max(1, size // shared.size), world=shared))

        return cls(
            lambda step: _rows(train, order[step]),
            {name: lambda held=held: batches(held) for name, held in parts.items() if name != "train"},
            {
                "size": size,
                "seed": seed,
                "items": {name: len(held[0]) for name, held in parts.items()},
                "checksum": checksum(tensor for held in parts.values() for tensor in held),
            },
            lambda batch: {"items": len(batch[0])},
        )


def checksum(tensors: Iterable[Tensor]) -> int:
    """A number made from all bytes of the tensors; other contents have the same one by a chance of one in 2^32."""
    check = 0
    for held in tensors:
        check = zlib.crc32(held.detach().cpu().contiguous().numpy().data, check)
    return check


def _rows(held: tuple[Tensor, ...], index: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor[index] for tensor in held)

"""The processes that train together: one, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from monge.errors import InputError

__all__ = ["World", "world"]


@dataclass(frozen=True)
class World:
    """The number of this process, and of all processes.

    Args:
        rank: number of this process.
        size: how many processes there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> World:
        """The processes as they are now."""
        joined = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if joined else cls()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and messages."""
        return self.rank == 0

    def gathered(self, held: Any) -> list[Any]:
        """The values of all processes, in the order of their numbers; each is plain data."""
        if self.size == 1:
            return [held]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, held)
        return found

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.size > 1:
            for held in tensors:
                dist.broadcast(held, 0)

    def average(self, loss: Tensor, weights: Iterable[nn.Parameter]) -> Tensor:
        """Replace gradients by their means over processes, and return the mean of the loss.

        This happens after the backward pass, so that the loss may call any method of the model; a wrapper of
        ``forward`` would notice calls of ``forward`` only.
        """
        if self.size == 1:
            return loss
        weights = list(weights)
        # A weight that no process used has no gradient, as in a single process; if only some used it, others add zero.
        used = torch.tensor([weight.grad is not None for weight in weights], device=loss.device).int()
        dist.all_reduce(used)
        chosen = [weight for weight, count in zip(weights, used.tolist(), strict=True) if count]
        parts = [(torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten() for weight in chosen]
        whole = torch.cat([loss.reshape(1), *parts])
        dist.all_reduce(whole)
        mean, *means = (whole / self.size).split([1, *map(len, parts)])
        for weight, part in zip(chosen, means, strict=True):
            weight.grad = part.view_as(weight).to(weight.dtype)
        return mean[0]


@contextmanager
def world(device: torch.device) -> Iterator[World]:
    """Connect the processes that torchrun started, while the block runs; without torchrun there is one process.

    Args:
        device: the device of this process; its kind decides how the processes communicate.

    Raises:
        InputError: torchrun set its variables, but the processes cannot connect to each other.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1" or World.current().size > 1:
        yield World.current()
        return
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"WORLD_SIZE={size} asks for several processes, but they cannot connect to each other "
            f"({' '.join(str(error).split())}): start them with torchrun."
        ) from error
    try:
        yield World.current()
        # Nobody leaves while another still speaks to them.
        dist.barrier()
    finally:
        dist.destroy_process_group()

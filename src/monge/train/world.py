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
    """Who is who.

    Args:
        rank: number of this process.
        size: how many there are.
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
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def gathered(self, held: Any) -> list[Any]:
        """What every process holds, in the order of their numbers; plain data of any kind."""
        if self.size == 1:
            return [held]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, held)
        return found

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with what the first process holds."""
        if self.size > 1:
            for held in tensors:
                dist.broadcast(held, 0)

    def average(self, loss: Tensor, weights: Iterable[nn.Parameter]) -> Tensor:
        """Gradients become their means over processes, and so does the loss, which is answered.

        After the backward pass, whatever function of the model made it: a wrapper of ``forward`` would not see others.
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
    """Join the processes that torchrun started, for as long as the block runs; without torchrun there is one.

    Args:
        device: of this process; its kind chooses how the processes talk.

    Raises:
        InputError: torchrun set its variables, but the processes do not find each other.
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

"""The processes that train together: one, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import InputError

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

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over processes."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def share(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model with gradients averaged over processes."""
        if self.size == 1:
            return model
        # Some couplers have parameters that only other options use; a static graph finds them once.
        ids = [device.index or 0] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, static_graph=True)


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
            f"WORLD_SIZE={size} asks for several processes, but they do not find each other "
            f"({' '.join(str(error).split())}): start them with torchrun."
        ) from error
    try:
        yield World.current()
    finally:
        dist.destroy_process_group()

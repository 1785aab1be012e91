"""Random numbers that depend on given numbers only, and on nothing that happened before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["mixed", "seeded"]


def mixed(*numbers: int | str) -> int:
    """One seed made of several numbers; similar numbers give unrelated seeds.

    Example:
        >>> from monge.train import mixed
        >>> mixed(0, "weights") == mixed(0, "weights") != mixed(1, "weights")
        True
    """
    told = "/".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=7).digest(), "big")


@contextmanager
def seeded(*numbers: int | str, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's generators inside the block; afterwards they have the state that they had before.

    Args:
        numbers: mixed into one seed.
        device: a device whose generator is seeded too, beside that of the CPU.

    Example:
        >>> import torch
        >>> from monge.train import seeded
        >>> with seeded(3, "weights"):
        ...     one = torch.nn.Linear(2, 2)
        >>> with seeded(3, "weights"):
        ...     two = torch.nn.Linear(2, 2)
        >>> bool((one.weight == two.weight).all())
        True
    """
    on_cuda = device is not None and device.type == "cuda"
    with torch.random.fork_rng([device] if on_cuda else []):
        torch.default_generator.manual_seed(mixed(*numbers))
        if on_cuda:
            torch.cuda.manual_seed(mixed(*numbers))
        yield

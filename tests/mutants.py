"""Files with damage that a seed decides."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

from monge.errors import InputError

__all__ = ["flipped", "mutant", "outcome"]


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit changed."""
    held = bytearray(content)
    held[bit // 8] ^= 1 << bit % 8
    return bytes(held)


def mutant(content: bytes, seed: int) -> bytes:
    """The content with some bytes changed, left out, repeated, put in, or cut off at the end."""
    rng, held = random.Random(seed), bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(held) + 1), rng.randint(1, 16)
        kind = rng.randrange(6)
        if kind == 0 and held:
            held[place % len(held)] ^= 1 << rng.randrange(8)
        elif kind == 1 and held:
            held[place % len(held)] = rng.choice([0, 0xFF, 0x7F, 0x80, rng.randrange(256)])
        elif kind == 2:
            del held[place : place + length]
        elif kind == 3:
            held[place:place] = held[place : place + length]
        elif kind == 4:
            held[place:place] = rng.randbytes(length)
        elif rng.random() < 0.3:
            del held[place:]
    return bytes(held)


def outcome(read: Callable[[], Any], seed: int) -> Any:
    """What was read, or None if it was refused in one sentence; anything else fails, a warning too."""
    told = "one sentence"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return read()
    except InputError as error:
        told = str(error)
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    assert "\n" not in told, seed
    assert len(told) < 1000, seed
    return None

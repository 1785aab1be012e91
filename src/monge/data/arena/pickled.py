"""CIFAR-10 as it was pickled for Python, without executing a pickle.

A pickle names functions to call. Here all names that arrays need lead to inert stand-ins that only keep what they are
given, and every other name is refused, so that a forged file can do nothing but be refused.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from monge.errors import InputError

__all__ = ["read_cifar"]

COLOURS = 3 * 32 * 32


class _Array:
    """What an array is rebuilt from."""

    shape: tuple[int, ...] = ()
    kind: Any = None
    raw: Any = b""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.kind, _, self.raw = state


class _Kind:
    """The dtype of an array."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else name

    def __setstate__(self, state: tuple) -> None:
        """The byte order, which bytes do not have."""


def _encoded(text: str, _: str) -> bytes:
    """How Python 3 writes bytes into an old pickle."""
    return text.encode("latin1")


def _rebuilt(*_: Any) -> _Array:
    return _Array()


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _rebuilt,
    ("numpy._core.multiarray", "_reconstruct"): _rebuilt,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encoded,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise InputError(f"it asks for {module}.{name}, which no array needs")
        return STAND_INS[module, name]


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The colours (count, 3072) and the labels of one batch."""
    try:
        with path.open("rb") as stream:
            held = _Unpickler(stream, encoding="bytes").load()
        array, labels = held[b"data"], np.array(held[b"labels"], dtype=np.int64)
        if array.kind.name != "u1" or tuple(array.shape) != (len(labels), COLOURS):
            raise InputError(f"{len(labels)} labels stand beside {array.kind.name} of shape {array.shape}")
        return np.frombuffer(array.raw, dtype=np.uint8).reshape(len(labels), COLOURS), labels
    except Exception as error:
        told = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"{path} is no batch of CIFAR-10 ({told[:160]}): take the binary version.") from error

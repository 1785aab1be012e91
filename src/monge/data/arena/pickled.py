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

from .._parsers import in_one_line

__all__ = ["read_cifar"]

COLOURS = 3 * 32 * 32


class _Inert:
    """Stands in for what an array is made with: keeps what it is given, and does nothing with it."""

    def __init__(self, *given: Any) -> None:
        self.given, self.state = given, ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state


def _encoded(text: str, _: str) -> bytes:
    """How Python 3 writes bytes into an old pickle."""
    return text.encode("latin1")


STAND_INS = {
    "numpy.core.multiarray._reconstruct": _Inert,
    "numpy._core.multiarray._reconstruct": _Inert,
    "numpy.ndarray": _Inert,
    "numpy.dtype": _Inert,
    "_codecs.encode": _encoded,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked not in STAND_INS:
            raise InputError(f"it asks for {asked}, which no array needs")
        return STAND_INS[asked]


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The colours (count, 3072) and the labels of one batch."""
    try:
        with path.open("rb") as stream:
            held = _Unpickler(stream, encoding="bytes").load()
        array, labels = held[b"data"], np.array(held[b"labels"], dtype=np.int64)
        _, shape, kind, _, raw = array.state
        # Python 2 wrote the name in bytes.
        name = kind.given[0].decode() if isinstance(kind.given[0], bytes) else kind.given[0]
        if name != "u1" or tuple(shape) != (len(labels), COLOURS):
            raise InputError(f"{len(labels)} labels stand beside {name} of shape {shape}")
        return np.frombuffer(raw, dtype=np.uint8).reshape(len(labels), COLOURS), labels
    except Exception as error:
        raise InputError(f"{path} is no batch of CIFAR-10 ({in_one_line(error)}): take the binary version.") from error

"""CIFAR-10 as it was pickled for Python, without executing a pickle."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

import numpy as np

from monge._reading import Budget, encoded_bytes, read_file, read_pickle, refused
from monge.errors import InputError

__all__ = ["read_cifar"]

COLOURS = 3 * 32 * 32


class _Inert:
    """Stands in for what an array is made with: keeps what it is given, and does nothing with it."""

    def __init__(self, *given: Any) -> None:
        self.given: tuple[Any, ...] = given
        self.state: tuple[Any, ...] = ()


def _told(made: Any, state: Any) -> None:
    if not isinstance(made, _Inert) or not isinstance(state, tuple):
        raise InputError("it changes something that is no array")
    made.state = state


def _kind() -> None:
    """What the name of a class leads to: it is handed on, and need not be called."""
    raise InputError("it makes an array in a way that NumPy does not")


KNOWN = {
    "numpy.core.multiarray._reconstruct": _Inert,
    "numpy._core.multiarray._reconstruct": _Inert,
    "numpy.ndarray": _kind,
    "numpy.dtype": _Inert,
    "_codecs.encode": encoded_bytes,
}


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The colours (count, 3072) and the labels of one batch."""
    with refused(f"{path} is no batch of CIFAR-10 (", "): take the binary version."):
        budget = Budget()
        held = read_pickle(read_file(path, budget), KNOWN, budget, build=_told)
        if not isinstance(held, dict) or not {b"data", b"labels"} <= held.keys():
            raise InputError("it has no entries b'data' and b'labels'")
        array, labels = held[b"data"], held[b"labels"]
        if not isinstance(labels, list) or any(type(label) is not int or not 0 <= label < 10 for label in labels):
            raise InputError("its labels are no list of whole numbers from 0 to 9")
        if not isinstance(array, _Inert) or len(array.state) != 5 or not isinstance(array.state[2], _Inert):
            raise InputError("its data are no array")
        _, shape, kind, columns_first, raw = array.state
        # Python 2 wrote the name in bytes.
        name = kind.given[0].decode() if isinstance(kind.given[0], bytes) else kind.given[0]
        if name != "u1" or shape != (len(labels), COLOURS):
            raise InputError(f"{len(labels)} labels stand beside {reprlib.repr(name)} of shape {reprlib.repr(shape)}")
        if type(columns_first) is not bool:
            raise InputError("its data do not say in which order they are")
        if not isinstance(raw, bytes) or len(raw) != len(labels) * COLOURS:
            raise InputError(f"its data should have {len(labels) * COLOURS} bytes")
        colours = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if columns_first else "C")
        return colours, np.array(labels, dtype=np.int64)

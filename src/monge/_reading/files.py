"""Regular files, and one sentence for whatever is wrong with them."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader

from ..errors import InputError, TransportError
from .budget import Budget

__all__ = ["lines_of", "open_file", "read_file", "refused"]

_LONGEST_LINE = 2**24


@contextmanager
def refused(
    before: str, after: str = ".", *, damaged: str = "it is damaged, cut short or of another format"
) -> Iterator[None]:
    """Turn whatever goes wrong with a file into one sentence: ``before``, the reason, ``after``.

    What a parser says of a file that it cannot read concerns nobody: the reason is then ``damaged``. What it warns of
    does neither.

    Args:
        before: The beginning of the sentence, which names the file.
        after: Its end, which says what to do.
        damaged: The reason, where no other is known.

    Raises:
        InputError: The sentence.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except TransportError as error:
        raise InputError(f"{before}{str(error).rstrip('.')}{after}") from error
    except MemoryError as error:
        raise InputError(f"{before}it does not fit into memory{after}") from error
    except Exception as error:
        raise InputError(f"{before}{damaged}{after}") from error


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[tuple[BufferedReader, int]]:
    """A regular file and its size; a pipe is not waited for, and a device is not read.

    Raises:
        InputError: If it is not there, is no regular file, or the system does not let it be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise InputError(f"it cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise InputError("it is no regular file")
    with os.fdopen(descriptor, "rb") as stream:
        yield stream, info.st_size


def read_file(path: str | os.PathLike[str], budget: Budget, *, most: int | None = None) -> bytearray:
    """The content of a regular file, or its first ``most`` bytes."""
    with open_file(path) as (stream, size):
        count = size if most is None else min(size, most)
        budget.take(count)
        held = bytearray(count)
        read = stream.readinto(held)
        if read < count:
            raise InputError(f"it holds {read} bytes instead of {count}: it is being changed")
    return held


def lines_of(path: str | os.PathLike[str], errors: str = "strict") -> Iterator[tuple[int, str]]:
    """The numbers of the lines of a text in UTF-8, from 1, and the lines with their ends, one at a time in memory.

    Args:
        path: The file.
        errors: What becomes of bytes that are not UTF-8, as in `bytes.decode`; by default they are refused.

    Raises:
        InputError: If the file cannot be opened, or a line is not UTF-8 or longer than any line should be.
    """
    with open_file(path) as (stream, _):
        number = 0
        while held := stream.readline(_LONGEST_LINE):
            number += 1
            if len(held) == _LONGEST_LINE and not held.endswith(b"\n"):
                raise InputError(f"line {number} is longer than {_LONGEST_LINE} bytes")
            try:
                line = held.decode("utf-8-sig" if number == 1 else "utf-8", errors)
            except UnicodeDecodeError as error:
                raise InputError(f"line {number} is no text in UTF-8, at byte {error.start + 1} of the line") from error
            yield number, line

"""Zip files: NumPy's archives, and those of ``torch.save``."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError
from .budget import Budget
from .files import open_file

__all__ = ["Archive", "open_archive"]

# Deflate makes at most so many bytes of one.
_DENSEST = 1032
_ENCRYPTED = 1


class Archive:
    """The members of a zip file, each compared with its checksum when it is read.

    Args:
        archive: The file.
        size: How many bytes it has.
        budget: Bytes that its members may take.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int, budget: Budget) -> None:
        self.budget, self._archive, self._size = budget, archive, size
        self._members = {info.filename: info for info in archive.infolist()}
        if len(self._members) < len(archive.infolist()):
            raise InputError("two of its members have one name")

    @property
    def names(self) -> list[str]:
        """The names of all members."""
        return list(self._members)

    def read(self, name: str) -> bytearray:
        """The content of a member.

        Raises:
            InputError: If there is no such member, it is packed in an unusual way, is damaged or does not fit.
        """
        info = self._members.get(name)
        if info is None:
            raise InputError(f"it lacks its part {name!r}")
        packing = info.compress_type
        if packing not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & _ENCRYPTED:
            raise InputError(f"its part {name!r} is encrypted, or packed in another way than deflate")
        most = min(info.compress_size, self._size) * (1 if packing == zipfile.ZIP_STORED else _DENSEST)
        if info.file_size > most:
            raise InputError(f"its part {name!r} promises more bytes than it can hold: the file is cut short or forged")
        self.budget.take(info.file_size)
        held, done = bytearray(info.file_size), 0
        try:
            with self._archive.open(info) as member:
                # In pieces: the whole at once would be held twice.
                while piece := member.read(2**20):
                    held[done : done + len(piece)] = piece
                    done += len(piece)
        except (zipfile.BadZipFile, EOFError) as error:
            raise InputError(f"its part {name!r} does not have the checksum that was written with it") from error
        if done != info.file_size:
            raise InputError(f"its part {name!r} is cut short")
        return held


@contextmanager
def open_archive(path: str | os.PathLike[str], budget: Budget) -> Iterator[Archive]:
    """The members of a zip file, whose budget they share."""
    with open_file(path) as (stream, size), zipfile.ZipFile(stream) as archive:
        yield Archive(archive, size, budget)

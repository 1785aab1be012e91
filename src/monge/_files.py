"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .errors import InputError

__all__ = ["check_destination", "make_folder", "write_whole"]


def check_destination(path: Path, option: str, endings: tuple[str, ...]) -> None:
    """Find out before the work is done whether its answer could be kept.

    Raises:
        InputError: If the ending is unknown, the folder is missing or closed, or something that is no file is there.
    """
    if path.suffix.lower() not in endings:
        raise InputError(f"{option} {path} must end in {' or '.join(endings)}, not in {path.suffix or 'nothing'!r}.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"{option} {path} needs the folder {folder}, which does not exist: make it first.")
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {path} is there already and is no regular file: choose another name.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path} needs write permission in {folder}: choose another folder.")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        InputError: If the system does not let it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {path} could not be made ({error.strerror or error}): choose another one."
        ) from error


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name beside its place, then rename it: readers see the old file or the new one.

    Args:
        path: Where the file will be.
        write: Writes the content into a binary stream.

    Raises:
        InputError: If the system does not let it; the old file, if any, is untouched and no scrap is left.
    """
    path = path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        scrap = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            # mkstemp is private by intention; a result is as readable as the user's other files.
            umask = os.umask(0)
            os.umask(umask)
            scrap.chmod(0o666 & ~umask)
            scrap.replace(path)
        finally:
            scrap.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}): free some space or choose another place; "
            "nothing was left half-written."
        ) from error

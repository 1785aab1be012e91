"""Files that appear whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody can be told that a file is in use.
    fcntl = None

__all__ = ["check_destination", "hold_folder", "lock", "make_folder", "write_whole"]


def check_destination(path: Path, option: str, endings: tuple[str, ...], *, replace: bool = True) -> None:
    """Find out before the work is done whether its answer could be kept.

    Args:
        path: Where the answer will be.
        option: What names the path; messages say it.
        endings: The endings that it may have.
        replace: Whether a file that is there may be replaced.

    Raises:
        InputError: If the ending is unknown, the folder is missing or closed, something that is no file is there, or a
            file that may not be replaced.
    """
    if path.suffix.lower() not in endings:
        raise InputError(f"{option} {path} must end in {' or '.join(endings)}, not in {path.suffix or 'nothing'!r}.")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"{option} {path} needs the folder {folder}, which does not exist: make it first.")
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {path} is there already and is no regular file: choose another name.")
    if path.exists() and not replace:
        raise InputError(f"{option} {path} is there already: add --force to replace it, or choose another name.")
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

    The permissions of a file that is there stay. What is left of a process that was killed while it wrote this file is
    removed.

    Args:
        path: Where the file will be.
        write: Writes the content into a binary stream.

    Raises:
        InputError: If the system does not let it; the old file, if any, is untouched and no scrap is left.
    """
    path = path.resolve()
    try:
        _remove_scraps(path)
        mode = _mode_of(path)
        descriptor, scrap = _new_scrap(path)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                write(stream)
                stream.flush()
                scrap.chmod(mode)
                os.fsync(descriptor)
                # While it is open it is locked, and nobody takes it for a scrap; Windows renames closed files only.
                if fcntl is not None:
                    scrap.replace(path)
            if fcntl is None:
                scrap.replace(path)
        finally:
            scrap.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}): free some space or choose another place; "
            "nothing was left half-written."
        ) from error


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Be the only one who works in a folder; the system lets go of it when the process ends, however it ends.

    Raises:
        InputError: If somebody works there already.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not lock(descriptor):
            raise InputError(f"{folder} is in use by another run: wait until it ends, or choose another folder.")
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Lock what is open until it is closed; False if somebody else has it.

    Where the system has no such locks, as Windows and some file systems of networks, the answer is True.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _mode_of(path: Path) -> int:
    """The permissions that a file has, or that a new one gets: mkstemp's are private, the user's others need not be."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _new_scrap(path: Path) -> tuple[int, Path]:
    """A temporary file beside a path, locked as long as its writer lives."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        lock(descriptor)
        # Another writer of the same file may have taken it for a scrap before it was locked.
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)


def _remove_scraps(path: Path) -> None:
    """Remove the temporary files of a path that nobody holds."""
    for scrap in path.parent.glob(f".{glob.escape(path.name)}.*part"):
        if re.fullmatch(r"([a-z0-9_]{8}\.)?part", scrap.name.removeprefix(f".{path.name}.")):
            with suppress(OSError), scrap.open("rb") as stream:
                # Windows removes no file that is open, so there the scraps of a writer that lives are safe, too.
                if lock(stream.fileno()):
                    scrap.unlink()

"""What other installed distributions add to this one."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from .errors import InputError

__all__ = ["entry_points"]


def entry_points(group: str) -> dict[str, Any]:
    """The objects that installed distributions register in a group, by name, in the order of the alphabet.

    Raises:
        InputError: Two distributions register one name, or an object cannot be imported.
    """
    found: dict[str, Any] = {}
    for point in sorted(metadata.entry_points(group=group), key=lambda point: point.name):
        owner = point.dist.name if point.dist is not None else "an unknown distribution"
        remedy = f"mend it or uninstall it (`pip uninstall {owner}`)."
        if point.name in found:
            raise InputError(f"{owner} registers {point.name!r} in {group}, where that name is taken: {remedy}")
        try:
            found[point.name] = point.load()
        except Exception as error:
            raise InputError(
                f"{owner} registers {point.name!r} in {group}, but {point.value} cannot be imported "
                f"({type(error).__name__}: {error}): {remedy}"
            ) from error
    return found

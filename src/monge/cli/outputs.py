"""Tables of numbers that the command writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from monge._files import check_destination, write_whole

__all__ = ["check_table", "told_table", "write_table"]


def check_table(path: Path | None, force: bool) -> None:
    """Find out before the work is done whether ``--out`` could be written."""
    if path is not None:
        check_destination(path, "--out", (".npy", ".csv"), replace=force)


def write_table(path: Path | None, numbers: Tensor) -> list[tuple[str, str]]:
    """Write a matrix, and tell where it is as a row of a table; no path, no row."""
    if path is None:
        return []
    held = numbers.detach().cpu().numpy()
    if path.suffix.lower() == ".npy":
        write_whole(path, lambda stream: np.save(stream, held, allow_pickle=False))
    else:
        # As many digits as bring every number back as it was.
        write_whole(path, lambda stream: np.savetxt(stream, held, delimiter=",", fmt="%.17g"))
    return [told_table(path, numbers)]


def told_table(path: Path, numbers: Tensor) -> tuple[str, str]:
    """Where a matrix is, as a row of a table."""
    return "written", f"{path} ({' x '.join(map(str, numbers.shape))})"

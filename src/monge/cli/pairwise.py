"""``monge pairwise``: the distances between many files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from monge import api
from monge.errors import InputError

from . import console
from .inputs import epsilon_of, read_clouds
from .outputs import check_table, told_table, write_table

__all__ = ["pairwise"]

# A larger matrix is summarised instead of printed.
_PRINTED = 12


def pairwise(
    files: Annotated[list[str], typer.Argument(help="Clouds of one dimension, two or more; - reads standard input.")],
    metric: Annotated[str, typer.Option(help="wasserstein or divergence.")] = "wasserstein",
    p: Annotated[float, typer.Option(help="The cost is this power of the Euclidean distance.")] = 2.0,
    epsilon: Annotated[
        str, typer.Option(help="Entropy in units of the cost, or relative:FRACTION of the mean cost; 0 is exact.")
    ] = "0",
    out: Annotated[Path | None, typer.Option(help="Write the matrix to this .npy or .csv file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the .npy file of a run that stopped.")] = False,
    dtype: Annotated[str, typer.Option(help="Precision to compute in, float32 or float64.")] = "float64",
) -> None:
    """Compute the distances between all pairs of several point clouds.

    Prints them as a matrix, in the order of the files; [cyan]--out[/] keeps it. A .npy file is written as the distances
    are found, NaN where they are still open, and [cyan]--resume[/] goes on with it after an interruption.
    """
    binary = out is not None and out.suffix.lower() == ".npy"
    if resume and not binary:
        raise InputError(f"--resume needs the .npy file of a run that stopped, but --out is {out}: name that file.")
    check_table(out, force or resume)
    with console.phases() as phases:
        with phases.phase("read"):
            clouds = read_clouds(dtype, {f"FILES[{k}]": path for k, path in enumerate(files)})
        with phases.phase("compare"):
            tell = phases.progress.of("pairs")
            if binary and force and not resume:
                out.unlink(missing_ok=True)  # type: ignore[union-attr]
            into = out if binary else None
            found = api.pairwise(clouds, metric=metric, p=p, epsilon=epsilon_of(epsilon), into=into, progress=tell)
    rows = []
    if len(files) <= _PRINTED:
        rows += [
            (f"{k} {Path(path).name}", "  ".join(f"{number:10.6g}" for number in found[k].tolist()))
            for k, path in enumerate(files)
        ]
    else:
        apart = found[~torch.eye(len(files), dtype=torch.bool)]
        rows.append(("distances", f"{float(apart.min()):.6g} to {float(apart.max()):.6g}, mean {apart.mean():.6g}"))
    rows += [told_table(out, found)] if binary else write_table(out, found)  # type: ignore[arg-type]
    console.answer(console.table(f"{metric}, {len(files)} × {len(files)}", rows + phases.spent()))

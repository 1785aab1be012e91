"""``monge pairwise``: the distances between many files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from monge import api

from . import console
from .inputs import epsilon_of, read_clouds
from .outputs import check_table, write_table

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
    dtype: Annotated[str, typer.Option(help="Precision to compute in, float32 or float64.")] = "float64",
) -> None:
    """Compute the distances between all pairs of several point clouds.

    Prints them as a matrix, in the order of the files; [cyan]--out[/] keeps it.
    """
    check_table(out, force)
    with console.phases() as phases:
        with phases.phase("read"):
            clouds = read_clouds(dtype, {f"FILES[{k}]": path for k, path in enumerate(files)})
        with phases.phase("compare"):
            tell = phases.progress.of("pairs")
            found = api.pairwise(clouds, metric=metric, p=p, epsilon=epsilon_of(epsilon), progress=tell)
    rows = []
    if len(files) <= _PRINTED:
        rows += [
            (f"{k} {Path(path).name}", "  ".join(f"{number:10.6g}" for number in found[k].tolist()))
            for k, path in enumerate(files)
        ]
    else:
        apart = found[~torch.eye(len(files), dtype=torch.bool)]
        rows.append(("distances", f"{float(apart.min()):.6g} to {float(apart.max()):.6g}, mean {apart.mean():.6g}"))
    rows += write_table(out, found)
    console.answer(console.table(f"{metric}, {len(files)} × {len(files)}", rows + phases.spent()))

"""``monge barycenter``: the cloud that is nearest to several files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monge import api
from monge.errors import InputError

from . import console
from .inputs import epsilon_of, read_clouds
from .outputs import check_table, write_table

__all__ = ["barycenter"]


def barycenter(
    files: Annotated[list[str], typer.Argument(help="Clouds of one dimension; - reads standard input.")],
    weights: Annotated[
        str | None, typer.Option(help="How much each file counts, as in 1,2,1; all the same if left out.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="How many points; as many as the file that counts most if left out.")
    ] = None,
    epsilon: Annotated[
        str, typer.Option(help="Entropy in units of the cost, or relative:FRACTION of the mean cost; 0 is exact.")
    ] = "0",
    out: Annotated[Path | None, typer.Option(help="Write the points to this .npy or .csv file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    dtype: Annotated[str, typer.Option(help="Precision to compute in, float32 or float64.")] = "float64",
) -> None:
    """Compute the Wasserstein barycentre of several point clouds: points of equal weight, nearest to all of them.

    Prints the objective and where the points lie; [cyan]--out[/] keeps them.
    """
    check_table(out, force)
    with console.phases() as phases:
        with phases.phase("read"):
            clouds = read_clouds(dtype, {f"FILES[{k}]": path for k, path in enumerate(files)})
        with phases.phase("solve"):
            found = api.barycenter(clouds, _shares(weights, len(files)), size=size, epsilon=epsilon_of(epsilon))
    rows = [
        ("points", f"{len(found.points):,} in {found.points.shape[1]} dimensions"),
        ("mean", ", ".join(f"{number:.6g}" for number in found.points.mean(0)[:8].tolist())),
        ("objective", f"{float(found.value):.10g}"),
        ("iterations", f"{len(found.history):,}"),
        ("status", found.status.value),
        *write_table(out, found.points),
    ]
    console.answer(console.table(f"Barycentre of {len(files)} clouds", rows + phases.spent()))
    console.judge(found.status)


def _shares(text: str | None, count: int) -> list[float] | None:
    """``1,2,1`` as numbers."""
    if text is None:
        return None
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != count:
        raise InputError(f"--weights {text} must be {count} numbers, one for each file, as in 1,2,1.")
    return shares

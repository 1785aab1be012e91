"""``monge map``: where a plan between two files carries the points of a third."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import console
from .measured import measured
from .outputs import check_table, write_table
from .question import Question, asking

__all__ = ["map_points"]


@asking
def map_points(
    asked: Question,
    *,
    points: Annotated[str, typer.Argument(help="Points of the same dimension, to be carried to the target.")],
    method: Annotated[
        str | None, typer.Option(help="barycentric, nearest or brenier; the one that fits the plan if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write where they go to this .npy or .csv file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
) -> None:
    """Carry points that need not be in the source by the transport plan between two point clouds.

    Prints what the plan costs and how far the points go; [cyan]--out[/] keeps where they go.
    """
    check_table(out, force)
    with console.phases() as phases:
        with phases.phase("read"):
            problem, (_, _, moving) = asked.read(POINTS=points)
        with phases.phase("solve"):
            solution = asked.solve(problem)
        with phases.phase("map"):
            moved = solution.coupling.map(moving, method=method)
            rows = measured(solution)
    far = (moved - moving).norm(dim=-1)
    rows.append(("points mapped", f"{len(moved):,}"))
    rows.append(("distance moved", f"{float(far.mean()):.6g} on average, {float(far.max()):.6g} at most"))
    rows += write_table(out, moved)
    console.answer(console.table("Map of points", rows + phases.spent()))
    console.judge(solution.report.status)

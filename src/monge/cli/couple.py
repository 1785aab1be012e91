"""``monge couple``: the transport plan between two files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from monge._checks import check_seed
from monge._files import check_destination, write_whole
from monge.solver import Solution

from . import console
from .measured import measured
from .plan_file import write_plan
from .question import Question, asking

__all__ = ["couple"]

PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


@asking
def couple(
    asked: Question,
    *,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this .npz file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the plan into this .png, .jpg, .pdf or .svg file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the pairs that --out draws.")] = 0,
) -> None:
    """Compute the transport plan between two point clouds.

    Prints what the plan costs and how well it was solved; [cyan]--out[/] keeps the plan, [cyan]--plot[/] draws it.
    """
    if out:
        check_destination(out, "--out", (".npz",), replace=force)
    if plot:
        check_destination(plot, "--plot", PICTURES, replace=force)
    check_seed("--seed", seed)
    with console.phases() as phases:
        with phases.phase("read"):
            problem, (x, y) = asked.read()
        with phases.phase("solve"):
            solution = asked.solve(problem)
        with phases.phase("measure"):
            rows = measured(solution)
        if out:
            with phases.phase("write"):
                form = write_plan(out, solution, generator=torch.Generator().manual_seed(seed))
                rows.append(("plan", f"{out} ({form} form)"))
        if plot:
            with phases.phase("draw"):
                _draw(solution, x, y, plot)
                rows.append(("picture", str(plot)))
    n, m = problem.shape
    console.answer(console.table(f"{type(solution.coupling).__name__} {n:,} × {m:,}", rows + phases.spent()))
    console.judge(solution.report.status)


def _draw(solution: Solution, x: Tensor, y: Tensor, path: Path) -> None:
    """The two clouds with the strongest links, beside the matrix in the order of the first coordinate."""
    from monge.plot import figure, links, plan

    picture = figure(11.0, 5.6)
    left, right = picture.subplots(1, 2)
    links(solution.coupling, x, y, ax=left)
    plan(solution.coupling, rows=x[:, 0].argsort(), columns=y[:, 0].argsort(), ax=right)
    write_whole(path, lambda stream: picture.savefig(stream, format=path.suffix[1:].lower(), dpi=130))

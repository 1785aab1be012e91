"""``monge train``: couplers compared under one schedule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from monge.data import Task
from monge.sequences import (
    HEADINGS,
    POOLINGS,
    RECIPES,
    Classifier,
    CouplerConfig,
    ModelConfig,
    Recipe,
    Result,
    ScheduleConfig,
    grid,
    recipe,
    summarise,
    write_report,
)
from monge.train import MachineConfig, Trained, world

from . import console

__all__ = ["schedule_of", "tell_all", "train"]


def train(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help=f"One of {', '.join(RECIPES)}.")],
    coupler: Annotated[
        str, typer.Option(help="Couplers, separated by commas; options follow after colons: pivots:pivots=64.")
    ] = "softmax,pivots",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ...")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="How many; warm-up and evaluations move along.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Sequences a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many evaluations without a better.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option(help=f"Tokens to one vector: {', '.join(POOLINGS)}; that of the recipe if left out.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where official files are, or where generated data are kept.")
    ] = None,
    legacy_pixel_mask: Annotated[
        bool, typer.Option("--legacy-pixel-mask", help="Take black official pixels for padding, as published code did.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The folder for runs and report; runs/RECIPE if left out.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what the folder holds; finished runs are not redone.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; cuda if there is one.")] = None,
    precision: Annotated[str, typer.Option(help="float32, bfloat16 (mixed), or auto.")] = "auto",
    compile: Annotated[bool, typer.Option("--compile", help="Pass the models through torch.compile.")] = False,
) -> None:
    """Train small Transformers that differ in their coupler only, and compare them.

    Prints one table: accuracy, time of a step, memory, and how far learned attention is from balance. The folder
    receives the runs, each with a checkpoint that [cyan]--resume[/] goes on from exactly, and a report with curves and
    pictures of what was learned. Started by [cyan]torchrun[/], every batch is shared by the processes.
    """
    chosen = recipe(name)
    couplers = CouplerConfig.parse_list(coupler)
    schedule = schedule_of(chosen, steps, batch=batch, lr=lr, patience=patience)
    model = chosen.model if pooling is None else replace(chosen.model, pooling=pooling)
    machine = MachineConfig(device=device, precision=precision, compile=compile)
    place = out or Path("runs") / chosen.name
    if data_dir is None and chosen.source == "generated":
        data_dir = Path("runs") / "data"
    with world(machine.torch_device()) as processes:
        with console.progress(None if processes.leads else False) as progress:
            task = chosen.task(data_dir, legacy_pixel_mask=legacy_pixel_mask, progress=progress.of("data"))
            runs = grid(
                task,
                couplers,
                seeds=seeds,
                model=model,
                schedule=schedule,
                machine=machine,
                folder=place,
                resume=resume,
                progress=progress,
                after=_tell if processes.leads else None,
            )
        if processes.leads:
            tell_all(f"{task.name}, {schedule.steps:,} steps", place, task, runs, model, schedule)


def tell_all(
    title: str,
    place: Path,
    task: Task,
    runs: list[Trained[Classifier, Result]],
    model: ModelConfig,
    schedule: ScheduleConfig,
) -> None:
    """Write the report of a comparison, and print its table, guessing as the last row."""
    write_report(place, task, runs, model=model, schedule=schedule)
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    shown = HEADINGS[:6]
    for heading in shown:
        # A long list of options may take several lines; a number never does.
        first = heading == "coupler"
        made.add_column(heading, justify="left" if first else "right", overflow="fold", no_wrap=not first)
    results = [run.result for run in runs]
    for summary in summarise(results):
        made.add_row(*summary.cells()[: len(shown)])
    made.add_row("most frequent class", f"{task.majority_rate:.4f}", style="dim")
    console.answer(made)
    console.answer(f"report: {place / 'report.html'}")


def schedule_of(chosen: Recipe, steps: int | None, **given: float | None) -> ScheduleConfig:
    """The schedule of a recipe, with what was given in its place."""
    schedule = chosen.schedule if steps is None else chosen.schedule.lasting(steps)
    return replace(schedule, **{name: told for name, told in given.items() if told is not None})


def _tell(run: Trained[Classifier, Result]) -> None:
    result = run.result
    console.note(
        f"{result.coupler}, seed {result.seed}: {result.accuracy:.4f} of the test part after {result.steps:,} steps of "
        f"{1e3 * result.step_seconds:.1f} ms."
    )

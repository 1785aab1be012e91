"""``monge demo``: two photographs in each other's colours, two attentions that read digits, and what length costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from monge._checks import check_seed
from monge._files import check_destination, make_folder, write_whole
from monge.data import photographs
from monge.plot import colour_transfer, curves, figure
from monge.sequences import grid, recipe
from monge.train import MachineConfig

from . import console
from .colour import transfer
from .lengths import LENGTHS, race
from .measured import measured
from .train import schedule_of, tell_all

__all__ = ["demo"]

_COUPLERS = ("softmax", "pivots")


def demo(
    pixels: Annotated[
        int, typer.Option(min=500, help="How many pixels of each photograph the plan is solved between.")
    ] = 20_000,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training each network; fewer are quicker.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for the pictures; made if missing.")] = Path("monge-demo"),
    longest: Annotated[
        int, typer.Option(min=64, max=4096, help="The most tokens of a digit for which a training step is timed.")
    ] = 4096,
    seed: Annotated[int, typer.Option(help="Seed of the sample of pixels.")] = 0,
) -> None:
    """Move the colours of two photographs, learn to read digits with two attentions, and time them at several lengths.

    The photographs and the digits come with scikit-learn. First, one streamed plan between the pixels:
    [cyan]colour_transfer.png[/] shows everything at a glance, and [cyan]temple.png[/] the source in its new colours.
    Then two small Transformers that differ in their attention only, softmax against exact pivots, which is balanced:
    [cyan]digits/report.html[/] shows how they learned and what they attend to. A digit of 64 tokens is too short for
    its time to matter, so at last the same digits are enlarged: softmax takes quadratic time, pivots linear time.
    """
    check_seed("--seed", seed)
    make_folder(out)
    _colours(pixels, out, seed)
    _digits(steps, out / "digits")
    _lengths(longest, out / "lengths.png")


def _colours(pixels: int, out: Path, seed: int) -> None:
    overview, single = out / "colour_transfer.png", out / "temple.png"
    for path in (overview, single):
        check_destination(path, "--out", (".png",))
    with console.phases() as phases:
        with phases.phase("read two photographs"):
            temple, flower = photographs()
        with phases.phase(f"move the colours, {pixels:,} × {pixels:,} pixels"):
            moved = transfer(temple, flower, pixels=pixels, generator=torch.Generator().manual_seed(seed))
        with phases.phase("draw"):
            seconds = list(phases.seconds.values())[-1]
            caption = (
                f"one unbalanced entropic plan between {pixels:,} × {pixels:,} pixels, never built, "
                f"extended to all {temple.shape[0] * temple.shape[1]:,} pixels of each photograph in {seconds:.0f} s"
            )
            picture = colour_transfer(temple, flower, moved.source, moved.target, caption=caption)
            write_whole(overview, lambda stream: picture.savefig(stream, format="png", dpi=110))
            _write_image(single, moved.source)
    plan_size = 4 * pixels**2 / 2**20
    rows = [
        ("pixels", f"{pixels:,} a side; the plan would take {plan_size:,.0f} MB and was never built"),
        *measured(moved.solution),
        *phases.spent(),
        ("pictures", f"{overview}, {single}"),
    ]
    console.answer(console.table("Colour transfer", rows))


def _digits(steps: int | None, out: Path) -> None:
    chosen = recipe("digits")
    task = chosen.task()
    schedule = schedule_of(chosen, steps)
    start = time.perf_counter()
    with _one_thread(), console.progress() as progress:
        runs = grid(
            task,
            ",".join(_COUPLERS),
            model=chosen.model,
            schedule=schedule,
            machine=MachineConfig(device="cpu"),
            progress=progress,
        )
    spent = time.perf_counter() - start
    told = f"\nReading {len(task.test):,} handwritten digits, after {schedule.steps:,} steps each, in {spent:.0f} s"
    tell_all(told, out, task, runs, chosen.model, schedule)


def _lengths(longest: int, path: Path) -> None:
    check_destination(path, "--out", (".png",))
    lengths = [length for length in LENGTHS if length <= longest]
    with _one_thread(), console.phases() as phases, phases.phase("time training steps"):
        taken = race(recipe("digits").model, _COUPLERS, lengths)
    picture = figure(6.0, 3.6)
    series = {name: [(lengths, [taken[length][name] for length in lengths])] for name in _COUPLERS}
    canvas = curves(series, ax=picture.subplots())
    canvas.set(xscale="log", yscale="log", xlabel="tokens", ylabel="seconds of a training step")
    canvas.set_xticks(lengths, [str(length) for length in lengths], minor=False)
    canvas.set_xticks([], minor=True)
    write_whole(path, lambda stream: picture.savefig(stream, format="png", dpi=110))
    rows = []
    for length, seconds in taken.items():
        softmax, pivots = (seconds[name] for name in _COUPLERS)
        told = f"softmax {1000 * softmax:,.0f} ms, pivots {1000 * pivots:,.0f} ms"
        rows.append((f"{length:,} tokens", f"{told}: pivots take {pivots / softmax:.2g} times as long"))
    console.answer(console.table("\nA training step of two digits, one thread", [*rows, ("picture", str(path))]))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small gain little from a second thread, and lose much wherever another process wants the core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write_image(path: Path, image: Tensor) -> None:
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    write_whole(path, lambda stream: Image.fromarray(pixels).save(stream, format="png"))

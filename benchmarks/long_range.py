"""Does balance help? ListOps and Pathfinder, every coupler under one schedule, resumable at any moment.

    python -m benchmarks.long_range --scale short --seeds 3 --out runs/long_range
    python -m benchmarks.long_range --scale standard --seeds 3 --out runs/long_range --device cuda

Run the same line again after an interruption: finished runs are read, the one that was cut off goes on exactly.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from monge.errors import TransportError
from monge.train import MachineConfig, Progress, Recipe, ScheduleConfig, Trained, grid, recipe, summarise, write_report

COUPLERS = "softmax,sinkhorn,pivots,entropic-pivots,expected-slices,luna,linear"
RECIPES = {"standard": ("listops", "pathfinder"), "short": ("listops-short", "pathfinder-short")}


def main(arguments: list[str] | None = None) -> None:
    """Run what the options say; without any, the short tasks with one seed."""
    given = _parser().parse_args(arguments or [])
    for name in given.recipes.split(",") if given.recipes else RECIPES[given.scale]:
        chosen = recipe(name)
        place = given.out / name
        model = replace(chosen.model, pooling=given.pooling or chosen.model.pooling)
        schedule = _schedule(chosen, given)
        with Progress() as progress:
            task = chosen.task(given.data_dir, progress=progress.of(f"data of {name}"))
            runs = grid(
                task,
                given.couplers,
                seeds=given.seeds,
                model=model,
                schedule=schedule,
                machine=MachineConfig(device=given.device, compile=given.compile, checkpoint_seconds=20.0),
                folder=place,
                resume=True,
                progress=progress,
                after=_tell,
            )
        write_report(place, task, runs, model=model, schedule=schedule)
        for summary in summarise(run.result for run in runs):
            print("  ".join(summary.cells()))
        print(f"always the most frequent class: {task.majority_rate:.4f}; report: {place / 'report.html'}\n")


def _schedule(chosen: Recipe, given: argparse.Namespace) -> ScheduleConfig:
    schedule = chosen.schedule.lasting(given.steps) if given.steps else chosen.schedule
    changed = {name: getattr(given, name) for name in ("batch", "lr") if getattr(given, name) is not None}
    return replace(schedule, **changed)


def _tell(run: Trained) -> None:
    result = run.result
    print(
        f"{result.task}, {result.coupler}, seed {result.seed}: {result.accuracy:.4f} in {result.steps:,} steps of "
        f"{1e3 * result.step_seconds:.1f} ms",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.long_range", description=(__doc__ or "").split("\n")[0])
    made.add_argument("--scale", choices=sorted(RECIPES), default="short")
    made.add_argument("--recipes", help="names of recipes, separated by commas, in the place of a scale")
    made.add_argument("--couplers", default=COUPLERS)
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--steps", type=int, help="updates a run; those of the recipe if left out")
    made.add_argument("--batch", type=int)
    made.add_argument("--lr", type=float)
    made.add_argument("--pooling", help="of the encoder; that of the recipe if left out")
    made.add_argument("--device")
    made.add_argument("--compile", action="store_true")
    made.add_argument("--data-dir", type=Path, default=Path("runs/data"))
    made.add_argument("--out", type=Path, default=Path("runs/long_range"))
    return made


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TransportError as error:
        sys.exit(f"error: {error}")

r"""Does balance help? ListOps and Pathfinder, every coupler under one schedule, resumable at any moment.

    SHARP=pivots:epsilon=0.125,hybrid:epsilon=0.125
    python -m benchmarks.long_range --recipes digits --seeds 3
    python -m benchmarks.long_range --scale hours --recipes listops-short
    python -m benchmarks.long_range --scale hours --recipes listops --couplers softmax,pivots,luna,linear
    python -m benchmarks.long_range --scale hours --recipes listops-short --pooling class --couplers \
        softmax,expected-slices,linear,$SHARP
    python -m benchmarks.long_range --scale hours --recipes listops --pooling class --couplers $SHARP
    python -m benchmarks.long_range --scale hours --recipes pathfinder-short --pooling class --steps 300 --couplers \
        softmax,pivots:epsilon=0.125

These made the tables of the documentation. A larger machine does all of it:

    python -m benchmarks.long_range --scale standard --device cuda --seeds 3

Run the same line again after an interruption: finished runs are read, the one that was cut off goes on exactly.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from monge.errors import TransportError
from monge.sequences import HEADINGS, grid, recipe, summarise, write_report
from monge.train import MachineConfig, Progress, Trained

from ._measure import keep

COUPLERS = "softmax,sinkhorn,pivots,pivots:epsilon=0.125,entropic-pivots,expected-slices,luna,linear"
# Times are left out: hours of training share a machine with other work, and `attention` measures them side by side.
_TOLD = [column for column, heading in enumerate(HEADINGS) if heading not in ("step", "tokens/s")]
STANDARD, SHORT = ("listops", "pathfinder"), ("listops-short", "pathfinder-short")


class Scale(NamedTuple):
    """Recipes, and what is changed in the size and the schedule of all of them."""

    recipes: tuple[str, ...]
    model: dict[str, Any]
    schedule: dict[str, Any]


SCALES = {
    "standard": Scale(STANDARD, {}, {}),
    "short": Scale(SHORT, {}, {}),
    # Two cores and some hours: fewer, larger steps. Attention weights are not dropped, at twice the pace for softmax.
    "hours": Scale(
        ("listops-short", "listops"),
        {"pooling": "learned", "attention_dropout": 0.0},
        {"steps": 1500, "lr": 1e-3, "warmup": 150, "decay": "cosine", "evaluate_every": 250},
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Run what the options say; without any, the short tasks with one seed."""
    given = _parser().parse_args(arguments or [])
    scale = SCALES[given.scale]
    for name in given.recipes.split(",") if given.recipes else scale.recipes:
        chosen = recipe(name)
        place = given.out / given.scale / name
        place = place / given.pooling if given.pooling else place
        model = replace(chosen.model, **(scale.model | _given(given, "pooling")))
        schedule = replace(chosen.schedule, **scale.schedule)
        schedule = replace(schedule.lasting(given.steps or schedule.steps), **_given(given, "batch", "lr"))
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
        results = [run.result for run in runs]
        keep(
            "long_range",
            f"{name}, {model.pooling} pooling, {schedule.steps:,} steps of {schedule.batch}, {_seeds(given.seeds)}",
            [HEADINGS[column] for column in _TOLD],
            [[summary.cells()[column] for column in _TOLD] for summary in summarise(results)],
            **{"most frequent class": f"{results[0].majority_rate:.4f}"},
        )
        print(f"report: {place / 'report.html'}\n")


def _given(given: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _tell(run: Trained) -> None:
    result = run.result
    print(
        f"{result.task}, {result.coupler}, seed {result.seed}: {result.accuracy:.4f} in {result.steps:,} steps of "
        f"{1e3 * result.step_seconds:.1f} ms",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.long_range", description=(__doc__ or "").split("\n")[0])
    made.add_argument("--scale", choices=sorted(SCALES), default="short")
    made.add_argument("--recipes", help="names of recipes, separated by commas, in the place of those of the scale")
    made.add_argument("--couplers", default=COUPLERS)
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--steps", type=int, help="steps a run; those of the recipe if left out")
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

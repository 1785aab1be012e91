"""The recipes of the documentation, each beside the same task with another library.

`python -m benchmarks recipes` runs all of them, `python -m benchmarks recipes.cells_over_time` one. A recipe is a
module with the name of its page. It has ``PEER``, the name of the other library, and the functions ``data()``,
``ours(data)``, ``theirs(data)`` and ``accuracy(data, answer)``, which gives numbers by name. The other library is
imported in ``theirs``; if it is missing, the recipe is skipped.
"""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path

from rich.console import Console

from .._measure import in_turn, keep

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main(only: str | None = None) -> None:
    """Run one recipe, or all of them."""
    for name in NAMES if only is None else [only]:
        compare(name)


def compare(name: str) -> None:
    """Time both sides in turn, after each has answered once, and keep times and accuracies."""
    recipe = importlib.import_module(f"{__name__}.{name}")
    data = recipe.data()
    sides = {"Monge": recipe.ours, recipe.PEER: recipe.theirs}
    try:
        accuracies = {who: recipe.accuracy(data, side(data)) for who, side in sides.items()}
    except ModuleNotFoundError as error:
        Console().print(f"{name} is skipped, because {error.name} is not installed.")
        return
    timings = in_turn(
        {who: partial(side, data) for who, side in sides.items()}, runs=getattr(recipe, "RUNS", 5), warmup=0
    )
    columns = ["", "median s", "min", "max", *accuracies["Monge"]]
    rows = [
        [who, *(f"{seconds:.3g}" for seconds in (timing.median, timing.least, timing.most)),
         *(f"{number:.4g}" for number in accuracies[who].values())]
        for who, timing in timings.items()
    ]  # fmt: skip
    ratio = timings[recipe.PEER].median / timings["Monge"].median
    keep("recipes", name, columns, rows, times_as_fast=f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}")

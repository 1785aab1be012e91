"""Rigid registration of twenty shapes in every cell of a table, against trimmed ICP from many starts in the same time.

    python -m benchmarks registration
    python -m benchmarks.registration --dimension 3 --cells "overlap 60" "overlap 40" --shapes 4

Every case is kept in a folder as soon as it is done, so that the same line goes on after an interruption.
A registration is right if its rotation is less than 5 degrees off, its scale less than 5 %, and the centroid of the
source less than 5 % of the diameter of the shape. Times are seconds of the processor, with one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monge.errors import ConvergenceWarning
from monge.registration import Rigid, rigid

from ._icp import Motion, trimmed_icp
from ._measure import keep
from ._shapes import CELLS, Case, case

SPACES = {2: "in the plane", 3: "in space"}


def main(arguments: list[str] | None = None) -> None:
    """All cases that are not done yet, then the tables of all that are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimension", type=int, nargs="+", default=[2, 3], choices=(2, 3))
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument("--shapes", type=int, default=20, help="shapes of a cell")
    parser.add_argument("--salt", type=int, default=0, help="another number gives other shapes of the same kinds")
    parser.add_argument("--folder", type=Path, default=Path("runs/registration"))
    chosen = parser.parse_args([] if arguments is None else arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for k in range(chosen.shapes):
        for d in chosen.dimension:
            for cell in chosen.cells:
                path = chosen.folder / f"{d}-{_name(cell)}-{k}-{chosen.salt}.json"
                if not path.exists():
                    path.write_text(json.dumps(compared(case(cell, d, k, chosen.salt), k)) + "\n")
    for d in chosen.dimension:
        _table(chosen.folder, d, chosen.salt)
    torch.set_num_threads(threads)


def compared(given: Case, seed: int) -> dict[str, Any]:
    """What became of one case."""
    x, y = torch.from_numpy(given.source), torch.from_numpy(given.target)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the verdict is kept
        found = rigid(x, y, scale=given.scaled, generator=torch.Generator().manual_seed(seed))
    seconds = time.process_time() - start
    other, starts = trimmed_icp(given, seconds, np.random.default_rng(seed))
    return {
        "right": _right(given, _motion(found.transformation)),
        "runner_up": _right(given, _motion(found.runner_up)),
        "verdict": found.verdict.name,
        "margin": found.margin,
        "fitness": found.fitness.tolist(),
        "rmse": found.rmse / (given.diameter * given.scale),
        "seconds": seconds,
        "baseline": _right(given, other),
        "starts": starts,
        "points": [len(x), len(y)],
    }


def _motion(found: Rigid) -> Motion:
    return found.rotation.numpy(), found.translation.numpy(), float(found.scale)


def _right(given: Case, motion: Motion) -> bool:
    rotation, translation, scale = motion
    cosine = float((given.rotation * rotation).sum())
    cosine = cosine / 2 if len(rotation) == 2 else (cosine - 1) / 2
    middle = given.source.mean(0)
    off = scale * rotation @ middle + translation - given.scale * given.rotation @ middle - given.translation
    return bool(
        np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 5
        and abs(scale / given.scale - 1) < 0.05
        and np.linalg.norm(off) < 0.05 * given.scale * given.diameter
    )


def _name(cell: str) -> str:
    """For a file."""
    return cell.replace(",", "").replace(" ", "-")


def _table(folder: Path, d: int, salt: int) -> None:
    """A row for each cell, by what is in the folder."""
    rows, everything = [], []
    for cell in CELLS:
        paths = sorted(folder.glob(f"{d}-{_name(cell)}-*-{salt}.json"))
        if not paths:
            continue
        done = [json.loads(path.read_text()) for path in paths]
        everything += done
        sure = [one for one in done if one["verdict"] == "SURE"]
        seconds = [one["seconds"] for one in done]
        rows.append(
            [
                cell,
                f"{sum(one['right'] for one in done)} of {len(done)}",
                f"{sum(one['baseline'] for one in done)} of {len(done)}",
                str(len(sure)),
                str(sum(not one["right"] for one in sure)),
                f"{statistics.median(seconds):.1f}",
                f"{max(seconds):.1f}",
                f"{statistics.median(one['starts'] for one in done):.0f}",
            ]
        )
    columns = ["cell", "right", "ICP right", "sure", "sure, but wrong", "median s", "most s", "starts of ICP"]
    verdicts = [one["verdict"] for one in everything]
    doubted = [one for one in everything if one["verdict"] == "AMBIGUOUS"]
    facts = {
        "verdicts": ", ".join(f"{verdicts.count(name)} {name.lower()}" for name in sorted(set(verdicts))),
        "ambiguous": f"{sum(one['right'] for one in doubted)} right, {sum(one['runner_up'] for one in doubted)} with "
        "the right motion as runner-up",
    }
    keep("registration", f"rigid registration {SPACES[d]}, {len(everything)} cases", columns, rows, **facts)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

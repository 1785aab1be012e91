"""Timing in turn, and tables."""

from __future__ import annotations

import gc
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """Seconds of the counted runs, and the extra peak memory of one run in megabytes."""

    median: float
    least: float
    most: float
    megabytes: float


def in_turn(
    contestants: dict[str, Callable[[], Any]], runs: int = 5, warmup: int = 1, calls: int = 1
) -> dict[str, Timing]:
    """Times every contestant once per round, so that a drifting machine is fair to all; a run is so many calls.

    Collecting garbage before a run empties the caches of the processor: calls of a few milliseconds are timed in a row.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(warmup):
        for run in contestants.values():
            run()
    for _ in range(runs):
        for name, run in contestants.items():
            gc.collect()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[name].append((time.perf_counter() - start) / calls)
    return {
        name: Timing(statistics.median(s), min(s), max(s), peak_memory(contestants[name]))
        for name, s in seconds.items()
    }


def peak_memory(run: Callable[[], Any]) -> float:
    """The most memory in megabytes that a run adds to the process, sampled while it goes."""
    gc.collect()
    before = peak = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, _resident())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return (peak - before) / 1e6


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make and that are still alive; ``peak`` is the most at once.

    Unlike the memory of the process it neither depends on what ran before nor on the allocator; what a fused kernel
    uses inside remains unseen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.bytes = 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation, then looks who is still there."""
        given = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
        }
        out = function(*args, **(kwargs or {}))
        for key in [key for key, (reference, _) in self._held.items() if reference.expired()]:
            self.bytes -= self._held.pop(key)[1]
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self._held:
                    self._held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
                    self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        return out


def _resident() -> int:
    """Bytes of this process in memory now; zero where the system does not tell."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if told.exists() else 0


def report(name: str, title: str, timings: dict[str, Timing], baseline: str, **facts: Any) -> None:
    """Prints a table of ratios to the baseline and keeps the numbers in ``results/name.json``."""
    table = Table(title=title)
    for heading in ("", "median s", "min", "max", "MB", f"times {baseline}"):
        table.add_column(heading, justify="right" if heading else "left")
    base = timings[baseline].median
    for who, timing in timings.items():
        ratio = base / timing.median
        cells = (f"{timing.median:.4g}", f"{timing.least:.4g}", f"{timing.most:.4g}", f"{timing.megabytes:.0f}")
        table.add_row(who, *cells, f"{ratio:.2f} x")
    Console().print(table)
    for fact, number in facts.items():
        Console().print(f"  {fact}: {number}")
    measured = {"baseline": baseline, "timings": {who: asdict(timing) for who, timing in timings.items()}}
    _write(name, title, measured, facts)


def keep(name: str, title: str, columns: list[str], rows: list[list[str]], **facts: Any) -> None:
    """Prints a table that is no race, such as accuracies, and keeps it in ``results/name.json``."""
    table = Table(title=title)
    for k, heading in enumerate(columns):
        table.add_column(heading, justify="right" if k else "left")
    for cells in rows:
        table.add_row(*cells)
    Console().print(table)
    for fact, number in facts.items():
        Console().print(f"  {fact}: {number}")
    _write(name, title, {"columns": columns, "rows": rows}, facts)


def _write(name: str, title: str, measured: dict[str, Any], facts: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"{name}.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    known[title] = {
        **measured,
        "facts": {key: str(value) for key, value in facts.items()},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    kept.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")

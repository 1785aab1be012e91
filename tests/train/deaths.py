"""Run as a script: train at once, and again in processes that are killed many times, at places that take turns.

The arguments are the problem, the number of processes, the number of deaths, and a folder.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from monge.train import Checkpoint, MachineConfig, Trainer, checkpoint, trainer, world
from train.problems import ALWAYS, PROBLEMS, account, path_of


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def between_steps(run: Trainer) -> None:
    die()


def before_the_update(run: Trainer) -> None:
    run.optimizer.step = die  # type: ignore[method-assign]


def in_the_evaluation(run: Trainer) -> None:
    """In the first one that comes, which may be some steps away."""
    run._validate = die  # type: ignore[method-assign,assignment]


def while_a_file_is_written(run: Trainer) -> None:
    """After half of a checkpoint, and half of a line of the journal."""

    def half(path: Path, write: Callable) -> None:
        (path.parent / f".{path.name}.part").write_bytes(b"half of it")
        if (path.parent / "metrics.jsonl").exists():
            with (path.parent / "metrics.jsonl").open("a") as stream:
                stream.write('{"step": 8, "par')
        die()

    checkpoint.write_whole = half  # type: ignore[assignment]


def at_the_end(run: Trainer) -> None:
    """When all steps are done, and what came out is measured."""
    run._peak_bytes = die  # type: ignore[method-assign,assignment]


# Every death comes a step or a few after the one before: a run has room for twenty.
PLACES = (between_steps, before_the_update, while_a_file_is_written, in_the_evaluation)


def work(problem: str, folder: Path, place: Callable[[Trainer], None] | None) -> None:
    torch.set_num_threads(1)
    with world(MachineConfig(device="cpu").torch_device()) as processes:
        # Fewer records than steps, so that a death falls between two of them.
        trainer._RECORDS = 7
        run = PROBLEMS[problem](folder=folder / "run", resume=True, machine=ALWAYS)
        # The first process dies, and what the others do then is up to them.
        if place is not None and processes.leads:
            run.callbacks = (lambda step: place(run),)
        torch.save(account(run), path_of(folder, processes.rank))


def together(problem: str, size: int, folder: Path, place: Callable[[Trainer], None] | None) -> list[int]:
    """What a machine does: start all processes, and end all of them when one dies."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            try:
                work(problem, folder, place)
                os._exit(0)
            except BaseException:  # noqa: BLE001  # the child must not go on as its parent
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    ends = [os.waitpid(children[0], 0)[1]]
    for child in children[1:]:
        if place is not None:
            os.kill(child, signal.SIGKILL)
        ends.append(os.waitpid(child, 0)[1])
    return ends


def main(problem: str, processes: str, deaths: str, place: str) -> None:
    # What is loaded now need not be loaded in every process.
    importlib.import_module("torch._dynamo")
    folder, last = Path(place), int(deaths) - 1
    (folder / "whole").mkdir()
    assert set(together(problem, int(processes), folder / "whole", None)) == {0}
    for number in range(last + 1):
        chosen = at_the_end if number == last else PLACES[number % len(PLACES)]
        ends = together(problem, int(processes), folder, chosen)
        assert os.WIFSIGNALED(ends[0]), f"death {number}: {ends}"
        step = Checkpoint.load(folder / "run" / "checkpoint.pt").step
        sys.stdout.write(f"{chosen.__name__} at step {step}\n")
    assert set(together(problem, int(processes), folder, None)) == {0}


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The measurements during a run, one record in each line."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monge._files import write_whole
from monge._reading import Budget, lines_of, refused
from monge.errors import InputError

__all__ = ["Journal", "read_records"]

# Parts that are recorded before a run is over.
_ON_THE_WAY = ("train", "valid")
# Bytes that a letter of JSON may become in memory.
_DENSEST = 64


class Journal:
    """Records in memory, in ``metrics.jsonl``, and in TensorBoard where that is installed.

    Args:
        folder: the folder of the run; None keeps the records in memory only.
        step: the step from which the run continues; records of later steps, from before an interruption, are dropped.
        writes: whether this process writes; a process that does not write only reads the records.
    """

    def __init__(self, folder: Path | None, step: int = 0, *, writes: bool = True) -> None:
        self.records: list[dict[str, Any]] = []
        self._path = None if folder is None or not writes else folder / "metrics.jsonl"
        self._board = None
        if folder is not None and (folder / "metrics.jsonl").exists():
            # A run that goes on was not over: what its end measured is measured again.
            known = read_records(folder / "metrics.jsonl")
            self.records = [record for record in known if record["step"] <= step and record["part"] in _ON_THE_WAY]
        if self._path is None:
            return
        text = "".join(map(_line, self.records)).encode()
        write_whole(self._path, lambda stream: stream.write(text))
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._path.parent / "tensorboard"), purge_step=step + 1)

    def add(self, part: str, step: int, **figures: float) -> None:
        """Store what was measured after a step.

        Args:
            part: ``"train"``, or the part of the data that was evaluated.
            step: steps done.
            figures: numbers by name.

        Raises:
            InputError: the record cannot be written.
        """
        record = {"step": step, "part": part, **figures}
        self.records.append(record)
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(_line(record))
        except OSError as error:
            raise InputError(
                f"{self._path} could not be written ({error.strerror or error}): free some space, then resume; the "
                "last checkpoint is whole."
            ) from error
        if self._board is not None:
            for name, figure in figures.items():
                self._board.add_scalar(f"{part}/{name}", figure, step)

    def of(self, part: str) -> list[dict[str, Any]]:
        """The records of a part."""
        return [record for record in self.records if record["part"] == part]

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a file; a last line that was cut off by an interruption is left out.

    Raises:
        InputError: the file cannot be read, or a line that was not cut off is no record.
    """
    records, budget = [], Budget()
    with refused(f"{path} cannot be used: ", "; restore a copy of it, or start again in another folder."):
        for number, line in lines_of(path):
            budget.take(_DENSEST * len(line))
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not _is_record(record):
                if not line.endswith("\n"):
                    break
                raise InputError(f"line {number} is no record of a run")
            records.append(record)
    return records


def _is_record(held: Any) -> bool:
    return isinstance(held, dict) and type(held.get("step")) is int and isinstance(held.get("part"), str)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"

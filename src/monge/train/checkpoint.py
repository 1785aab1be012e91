"""Everything that a run needs to continue, in one file that is written completely or not at all."""

from __future__ import annotations

import io
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from monge._files import write_whole
from monge._reading import MAX_BYTES, Budget, read_tensors, refused
from monge.errors import InputError

__all__ = ["Checkpoint", "plain"]

_FORMAT = "monge-train-2"
_EARLIER = ("monge-train-1",)
_STATE, _NOTHING = dict, type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "identity": (_STATE,), "step": (int,), "model": (_STATE,), "optimizer": (_STATE, _NOTHING),
    "average": (_STATE, _NOTHING), "best": (_STATE, _NOTHING), "stale": (int,), "window": (tuple,),
    "outcome": (_STATE, _NOTHING),
}  # fmt: skip
# What a folder holds may be of any length and depth, a message may not.
_SHORTLY = reprlib.Repr()
_SHORTLY.maxstring = _SHORTLY.maxother = 80


@dataclass(frozen=True)
class Checkpoint:
    """The state between two steps.

    The order of the data and all randomness of a step are functions of the seed and the step, so that no state of a
    random generator has to be stored; the learning rate is a function of the step too.

    Args:
        identity: what is trained, on which data, and how; a run continues only if all of it is the same.
        step: steps done.
        model: weights now, or the best ones once the run is finished.
        optimizer: its state, None once the run is finished.
        average: averaged weights, None if there are none.
        best: weights, figures and step of the best evaluation so far.
        stale: evaluations since.
        window: sum of losses, and steps, since the last record.
        outcome: what was measured, None until the run is finished.
    """

    identity: dict[str, Any]
    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any] | None = None
    average: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    stale: int = 0
    window: tuple[float, int] = (0.0, 0)
    outcome: dict[str, Any] | None = None

    @property
    def weights(self) -> dict[str, Any]:
        """The weights to use: the best so far, or else the averaged ones, or else those of the last step."""
        return self.best["model"] if self.best else self.average or self.model

    def save(self, path: Path) -> None:
        """Write the file; if this fails, the old file is still there.

        Raises:
            InputError: the file cannot be written, for example because the disk is full.
        """
        held = {name: getattr(self, name) for name in self.__dataclass_fields__}
        # Through memory, so that what goes wrong in writing is told by the system and not by a serialiser.
        stream = io.BytesIO()
        with _checksums():
            torch.save({"format": _FORMAT, **held}, stream)
        write_whole(path, lambda file: file.write(stream.getbuffer()))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read the file; nothing in it is executed, and every part is compared with its checksum.

        Raises:
            InputError: the file does not exist, is damaged, or is of another kind.
        """
        if not path.exists():
            raise InputError(f"{path} is not there: train first, or name the folder of a run.")
        remedy = "): restore a copy of it, or start again in another folder."
        with refused(f"{path} is damaged or no checkpoint of monge (", remedy):
            # It is as large as its model; nothing in it is packed.
            held = read_tensors(path, Budget(MAX_BYTES + 2 * path.stat().st_size))
            if not isinstance(held, dict) or held.get("format") not in (_FORMAT, *_EARLIER):
                raise InputError("it has another format")
            written = held.pop("format")
            if written == _FORMAT:
                if held.keys() != _KINDS.keys():
                    raise InputError("it lacks something that a run needs, or has more")
                for name, kinds in _KINDS.items():
                    if not isinstance(held[name], kinds):
                        raise InputError(f"its entry {name!r} is of type {type(held[name]).__name__}")
                return cls(**held)
        raise InputError(
            f"{path} was written by an earlier version of monge, in the format {written} and not in {_FORMAT}: "
            "continue with that version, or start again in another folder."
        )

    def check(self, identity: Mapping[str, Any], path: Path) -> None:
        """Refuse to continue a run with other settings than it began with.

        Raises:
            InputError: the folder holds a run with other settings.
        """
        names = sorted({*identity, *self.identity})
        differ = [name for name in names if identity.get(name) != self.identity.get(name)]
        if differ:
            told = "; ".join(_difference(name, self.identity.get(name), identity.get(name)) for name in differ)
            raise InputError(f"{path} holds another run ({told}): choose another folder, or the same settings.")


@contextmanager
def _checksums() -> Iterator[None]:
    """Have torch write checksums, whatever the program has told it: they are compared when the file is read."""
    kept = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(True)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(kept)


def _difference(name: str, there: Any, here: Any) -> str:
    if isinstance(there, dict) and isinstance(here, dict):
        parts = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
        return "; ".join(_difference(f"{name}.{key}", there.get(key), here.get(key)) for key in parts)
    shown = (held[:80] if isinstance(held, str) else _SHORTLY.repr(held) for held in (there, here))
    return f"{name} is {next(shown)} there and {next(shown)} here"


def plain(part: Any) -> Any:
    """The settings of a run as plain data: dataclasses become dictionaries, and tuples become lists."""
    if hasattr(part, "__dataclass_fields__"):
        part = asdict(part)
    if isinstance(part, Mapping):
        return {str(name): plain(held) for name, held in part.items()}
    if isinstance(part, (tuple, list)):
        return [plain(held) for held in part]
    return part if isinstance(part, (str, int, float, bool, type(None))) else str(part)

"""The answers of many pairs, kept as they are found: in memory, or in a file from which stopped work goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monge._files import check_destination, lock, write_whole
from monge.errors import InputError

__all__ = ["InFile", "InMemory", "Kept", "fingerprint"]


class Kept(Protocol):
    """Where the numbers of pairs go."""

    def open(self, i: Int[Tensor, " k"], j: Int[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """Which of these pairs have no number yet."""
        ...

    def put(self, i: Int[Tensor, " k"], j: Int[Tensor, " k"], values: Float[Tensor, " k"]) -> None:
        """Keep the numbers of some pairs."""
        ...

    def whole(self) -> Float[Tensor, "n m"]:
        """The matrix of all that was kept."""
        ...


class InMemory:
    """Numbers in memory, with their derivatives; what is not put is zero."""

    def __init__(self, like: Float[Tensor, "n m"]) -> None:
        self._out = like
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []

    def open(self, i: Int[Tensor, " k"], j: Int[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """All of them."""
        return torch.ones_like(i, dtype=torch.bool)

    def put(self, i: Int[Tensor, " k"], j: Int[Tensor, " k"], values: Float[Tensor, " k"]) -> None:
        """Keep the numbers of some pairs."""
        self._found.append((i, j, values))

    def whole(self) -> Float[Tensor, "n m"]:
        """The matrix, in one step, so that its derivative is one step as well."""
        if not self._found:
            return self._out
        i, j, values = (torch.cat(part).to(self._out.device) for part in zip(*self._found, strict=True))
        return self._out.index_put((i, j), values)


class InFile:
    """Numbers in a file ``.npy``, which is whole at every moment: NaN stands where a number is still open.

    Behind the matrix, where readers of ``.npy`` do not look, stands the fingerprint of the work, so that no other work
    is taken for its continuation. While it is in use, the file is locked.
    """

    def __init__(self, path: Path, like: Float[Tensor, "n m"], task: bytes) -> None:
        check_destination(path, "into", (".npy",))
        self._like = like
        if not path.exists():
            fresh = np.full(like.shape, np.nan, dtype=like.new_empty(0).cpu().numpy().dtype)
            write_whole(path, lambda stream: (np.save(stream, fresh, allow_pickle=False), stream.write(task)))
        self._stream = path.open("r+b")
        try:
            if not lock(self._stream.fileno()):
                raise InputError(f"into {path} is in use by another run: wait until it ends, or choose another file.")
            self._stream.seek(-min(len(task), path.stat().st_size), 2)
            if self._stream.read() != task:
                raise InputError(
                    f"into {path} holds the numbers of other measures or options, or was made by something else: "
                    "choose another file, or remove this one."
                )
            self._held = np.load(path, mmap_mode="r+", allow_pickle=False)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> InFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.flush()
        self._stream.close()

    def open(self, i: Int[Tensor, " k"], j: Int[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """Those that are NaN."""
        return torch.from_numpy(np.isnan(self._held[i.numpy(), j.numpy()]))

    def put(self, i: Int[Tensor, " k"], j: Int[Tensor, " k"], values: Float[Tensor, " k"]) -> None:
        """Write the numbers of some pairs; a process that is killed afterwards has written them."""
        self._held[i.numpy(), j.numpy()] = values.detach().cpu().numpy()

    def whole(self) -> Float[Tensor, "n m"]:
        """A copy of the matrix."""
        return torch.from_numpy(np.array(self._held)).to(self._like.device)


def fingerprint(*parts: object) -> bytes:
    """32 bytes that tell one piece of work from another: tensors by their numbers, all else by its text."""
    digest = hashlib.sha256(b"monge pairwise")
    for part in parts:
        if isinstance(part, Tensor):
            held = part.detach().cpu().contiguous()
            told, content = f"{held.dtype} {tuple(held.shape)}", held.view(torch.uint8).numpy().tobytes()
        else:
            told, content = repr(part), b""
        digest.update(f"|{len(told)} {told}|".encode())
        digest.update(content)
    return digest.digest()

"""What ``torch.save`` has written, read without torch's own unpickler, which compares no checksum and no size."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .archives import Archive, open_archive
from .budget import Budget
from .files import refused
from .pickles import encoded_bytes, read_pickle

__all__ = ["read_tensors"]

_STORAGES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
    }.items()
}  # fmt: skip
_DTYPES = {f"torch.{name}": held for name, held in vars(torch).items() if isinstance(held, torch.dtype)}


def read_tensors(path: str | os.PathLike[str], budget: Budget) -> Any:
    """The tensors of a file of ``torch.save``, in the lists and dictionaries that they were saved in, on the processor.

    The checksum of every part is compared, and every size; nothing that the file names is called.

    Args:
        path: The file.
        budget: Bytes that it may take; a tensor that repeats its numbers by a stride of zero takes those it has stored.

    Raises:
        InputError: If it holds more than plain tensors, numbers and texts, or is damaged.
    """
    damaged = "it is damaged, written by torch before 1.6, or holds more than plain tensors, which is never unpickled"
    with refused("", "", damaged=damaged), open_archive(path, budget) as archive:
        roots = [name.removesuffix("/data.pkl") for name in archive.names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise InputError("it is no file of torch.save")
        order = f"{roots[0]}/byteorder"
        if order in archive.names and archive.read(order) != sys.byteorder.encode():
            raise InputError("it was written on a machine with another order of bytes")
        known = {
            **_STORAGES,
            **_DTYPES,
            "torch.storage.UntypedStorage": torch.uint8,
            "torch.Size": _size,
            "torch._utils._rebuild_tensor_v2": _rebuilt,
            "torch._utils._rebuild_tensor_v3": _rebuilt,
            "torch._utils._rebuild_parameter": _parameter,
            "collections.OrderedDict": _ordered,
            "_codecs.encode": encoded_bytes,
        }
        content = archive.read(f"{roots[0]}/data.pkl")
        return read_pickle(content, known, budget, load=_Storages(archive, roots[0]), build=_tell)


class _Storages:
    """The numbers of an archive: those that several tensors share are read once."""

    def __init__(self, archive: Archive, root: str) -> None:
        self.archive, self.root = archive, root
        self.held: dict[str, Tensor] = {}

    def __call__(self, told: Any) -> Tensor:
        kind, dtype, key, _, count = told
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(key) is not str or type(count) is not int:
            raise InputError("it refers to something that is no storage of a tensor")
        if key not in self.held:
            content = self.archive.read(f"{self.root}/data/{key}")
            self.held[key] = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0).byte()
        found = self.held[key]
        if len(found) != count * dtype.itemsize:
            told = count if abs(count) < 2**64 else "more than 2**64"
            raise InputError(f"a tensor promises {told} numbers of {dtype}, but {len(found)} bytes follow")
        return found.view(dtype)


def _rebuilt(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    dtype: Any = None,
    metadata: Any = None,
) -> Tensor:
    numbers = (offset, *size, *stride)
    if not isinstance(storage, Tensor) or any(type(number) is not int or number < 0 for number in numbers):
        raise InputError("it holds a tensor whose shape is no list of numbers")
    flat = storage if dtype is None else storage.view(dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= len(flat):
        raise InputError("it holds a tensor that reaches behind its numbers")
    return flat.as_strided(size, stride, offset)


def _parameter(data: Any, requires_grad: Any, hooks: Any) -> Any:
    return data


def _size(numbers: Any) -> torch.Size:
    return torch.Size(numbers)


def _ordered() -> OrderedDict[Any, Any]:
    return OrderedDict()


def _tell(held: Any, state: Any) -> None:
    """The dictionaries of modules carry the version of each layer, as an attribute."""
    if type(held) is not OrderedDict or not isinstance(state, dict) or set(state) != {"_metadata"}:
        raise InputError("it holds more than plain tensors, which is never unpickled")
    held._metadata = state["_metadata"]  # type: ignore[attr-defined]

"""The compiled extension, if it is there."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from monge.errors import DtypeError

# What the loops compute in.
FULL_PRECISION = (torch.float32, torch.float64)

_reason = ""
try:
    _module: ModuleType | None = importlib.import_module("._native", __package__)
except ImportError as error:  # a source tree that was never built: slow, but right
    _module = None
    _reason = str(error)
    warnings.warn(
        f"Monge's native kernels are missing ({_reason}): every operation falls back to its slower torch reference. "
        "Install the package with a C++17 compiler at hand to build them.",
        RuntimeWarning,
        stacklevel=2,
    )

AVAILABLE = _module is not None


def reads(*tensors: Tensor) -> bool:
    """Whether the native loops are there and can read these: numbers of full precision on the CPU."""
    return AVAILABLE and all(t.device.type == "cpu" and t.dtype in FULL_PRECISION for t in tensors)


def call(loop: str, *arguments: Any) -> Any:
    """What the loop of that name answers; it checks sizes before it reads or writes."""
    try:
        return getattr(module(), loop)(*arguments)
    except TypeError as error:
        told = ", ".join(str(held.dtype) for held in arguments if hasattr(held, "dtype"))
        raise DtypeError(
            f"{loop} reads arrays of one dtype, float32 or float64, and weights, levels and shifts of a line in "
            f"float64, but was given {told}: convert them to float64."
        ) from error


def module() -> ModuleType:
    """The extension; only called where `AVAILABLE` or `reads` said yes."""
    if _module is None:
        raise ImportError(f"Monge's native kernels are missing: {_reason}")
    return _module

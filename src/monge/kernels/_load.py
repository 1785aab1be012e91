"""The compiled extension, if it is there."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

__all__ = ["AVAILABLE", "module"]

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


def module() -> ModuleType:
    """The extension; only called where `AVAILABLE` said yes."""
    if _module is None:
        raise ImportError(f"Monge's native kernels are missing: {_reason}")
    return _module

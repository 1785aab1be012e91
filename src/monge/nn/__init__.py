"""Neural network modules whose inside is a transport plan."""

from __future__ import annotations

from . import conversion, couplers, diagnostics, features, functional
from .attention import Attention
from .conversion import convert, fine_tune, match

__all__ = [
    "Attention",
    "conversion",
    "convert",
    "couplers",
    "diagnostics",
    "features",
    "fine_tune",
    "functional",
    "match",
]

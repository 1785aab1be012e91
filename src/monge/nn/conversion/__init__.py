"""Trained models with another coupler: `convert`, then `match` what the old attention gave, then `fine_tune`."""

from __future__ import annotations

from .convert import Conversion, Replacement, convert, coupler_parameters
from .converted import Converted
from .layout import LAYOUTS, Layout
from .tuning import Matching, fine_tune, match

__all__ = [
    "LAYOUTS",
    "Conversion",
    "Converted",
    "Layout",
    "Matching",
    "Replacement",
    "convert",
    "coupler_parameters",
    "fine_tune",
    "match",
]

"""Trained models with another coupler: `convert`, then `match` what the old attention gave, then `fine_tune`."""

from .conversion import Conversion, Replacement, convert, coupler_parameters
from .converted import Converted
from .layout import LAYOUTS, Layout
from .tuning import LayerLosses, fine_tune, match

__all__ = [
    "LAYOUTS",
    "Conversion",
    "Converted",
    "LayerLosses",
    "Layout",
    "Replacement",
    "convert",
    "coupler_parameters",
    "fine_tune",
    "match",
]

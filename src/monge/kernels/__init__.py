"""The few hot loops that everything else is composed of; one folder each."""

from __future__ import annotations

from .apply import apply
from .ctransform import ctransform
from .extract import extract
from .pairs import Matrix, Pairs, Points
from .sinkhorn import sinkhorn
from .softmin import softmin
from .top_k import top_k

__all__ = [
    "Matrix",
    "Pairs",
    "Points",
    "apply",
    "ctransform",
    "extract",
    "sinkhorn",
    "softmin",
    "top_k",
]

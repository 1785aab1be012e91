"""Loops over all pairs of a cost that is read tile by tile: the costs themselves, and what is made of their scores.

`softmin`, `apply`, `sinkhorn`, `top_k`, `ctransform` and `extract` are defined in ``reference.py``; their C++ twins and
derivatives are in ``native.py``.
"""

from .entries import ctransform, extract, top_k
from .pairs import Matrix, Pairs, Points
from .sums import apply, sinkhorn, softmin

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

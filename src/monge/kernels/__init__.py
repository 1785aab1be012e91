"""The few hot loops that everything else is composed of; one folder each.

Every kernel has a definition in plain torch, ``reference.py``, and most have a C++ twin, ``native.py``, which must
equal it on outputs and gradients. The twin takes float32 and float64 tensors on the CPU (half-precision points are
converted first); the reference takes everything else, and everything if the extension is missing, which is said once,
at import. Pivots have a twin for CUDA instead, ``triton.py``, imported when a tensor there first asks. Attention that
is balanced by half-steps, or whose weights are dropped, is bound by products of matrices; its twins are torch still, a
few heads at a time, so that nothing of the size of all pairs leaves the cache.
"""

from __future__ import annotations

from .apply import apply
from .assignment import Matching, assignment
from .balanced import balanced_apply, half_steps, log_sum_exp, row_shares
from .circle import circle_distance, circle_shift, linear_circle_distance
from .ctransform import ctransform
from .dropped import dropped_softmax, dropping
from .extract import extract
from .line import line_distance, line_potentials
from .monotone import monotone
from .pairs import Matrix, Pairs, Points
from .partial1d import partial_cost, partial_plan, partial_profile
from .pivots import occupancy, pivot_apply
from .simplex import Basis, simplex
from .sinkhorn import sinkhorn
from .softmin import softmin
from .sort import argsort, sort
from .top_k import top_k

__all__ = [
    "Basis",
    "Matching",
    "Matrix",
    "Pairs",
    "Points",
    "apply",
    "argsort",
    "assignment",
    "balanced_apply",
    "circle_distance",
    "circle_shift",
    "ctransform",
    "dropped_softmax",
    "dropping",
    "extract",
    "half_steps",
    "line_distance",
    "line_potentials",
    "linear_circle_distance",
    "log_sum_exp",
    "monotone",
    "occupancy",
    "partial_cost",
    "partial_plan",
    "partial_profile",
    "pivot_apply",
    "row_shares",
    "simplex",
    "sinkhorn",
    "softmin",
    "sort",
    "top_k",
]

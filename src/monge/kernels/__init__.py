"""The few hot loops that everything else is composed of, in four rooms by what they serve.

`stream` holds loops over all pairs of a cost, `line` those along the line and the circle, `attention` those of
attention that is balanced, goes through pivots or is dropped, `exact` the sparse exact solvers; `derivatives` has what
backward passes share.

Every kernel has a definition in plain torch, ``reference.py``, and most have a C++ twin, ``native.py``, which must
equal it on outputs and gradients. The twin takes float32 and float64 tensors on the CPU (half-precision points are
converted first); the reference takes everything else, and everything if the extension is missing, which is said once,
at import. Pivots have a twin for CUDA instead, ``triton.py``, imported when a tensor there first asks. Attention that
is balanced by half-steps, or whose weights are dropped, is bound by products of matrices; its twins are torch still, a
few heads at a time, so that nothing of the size of all pairs leaves the cache.
"""

from . import attention, derivatives, exact, line, stream
from ._extension import AVAILABLE
from .attention import (
    balanced_apply,
    dropped_softmax,
    dropping,
    half_steps,
    log_sum_exp,
    occupancy,
    pivot_apply,
    row_shares,
    small_plans,
)
from .exact import Arcs, Basis, Matching, Proof, assignment, bijection, proof, simplex
from .line import (
    argsort,
    circle_distance,
    circle_shift,
    line_distance,
    line_potentials,
    linear_circle_distance,
    monotone,
    partial_cost,
    partial_plan,
    partial_profile,
    sort,
)
from .stream import Matrix, Pairs, Points, apply, ctransform, extract, sinkhorn, softmin, top_k

__all__ = [
    "AVAILABLE",
    "Arcs",
    "Basis",
    "Matching",
    "Matrix",
    "Pairs",
    "Points",
    "Proof",
    "apply",
    "argsort",
    "assignment",
    "attention",
    "balanced_apply",
    "bijection",
    "circle_distance",
    "circle_shift",
    "ctransform",
    "derivatives",
    "dropped_softmax",
    "dropping",
    "exact",
    "extract",
    "half_steps",
    "line",
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
    "proof",
    "row_shares",
    "simplex",
    "sinkhorn",
    "small_plans",
    "softmin",
    "sort",
    "stream",
    "top_k",
]

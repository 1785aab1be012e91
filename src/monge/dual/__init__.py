"""The dual of a linear problem: block ascent, the Hessian, and the Schur form on which Newton and gradients stand."""

from ._operators import DenseOperator, Operator, SparseOperator, StreamedOperator
from .ascent import Ascent, Iteration
from .hessian import Hessian, Vector
from .scaled_hessian import ScaledHessian
from .schur import Schur

__all__ = [
    "Ascent",
    "DenseOperator",
    "Hessian",
    "Iteration",
    "Operator",
    "ScaledHessian",
    "Schur",
    "SparseOperator",
    "StreamedOperator",
    "Vector",
]

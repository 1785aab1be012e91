"""Neural network modules that compute with a transport plan."""

from . import couplers, diagnostics, features, functional
from .attention import Attention

__all__ = [
    "Attention",
    "couplers",
    "diagnostics",
    "features",
    "functional",
]

"""Neural network modules that compute with a transport plan."""

from . import couplers, diagnostics, features, functional
from .attention import Attention
from .multihead_attention import MultiheadAttention

__all__ = [
    "Attention",
    "MultiheadAttention",
    "couplers",
    "diagnostics",
    "features",
    "functional",
]

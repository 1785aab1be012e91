"""Attention as functions of queries, keys and values; the modules hold their parameters."""

from .anchor import anchored_matrix
from .causal import harmonic_mass, prefix_pivot_attention, prefix_pivot_step
from .doubly_stochastic import doubly_stochastic
from .features import elu_features, feature_attention, feature_step, linear_attention
from .orthogonal import cayley_matrix, circuit_matrix, qr_matrix
from .pivots import entropic_pivot_attention, pivot_attention
from .sinkhorn import sinkhorn_attention
from .slices import sliced_attention, soft_sliced_attention
from .softmax import softmax_attention

__all__ = [
    "anchored_matrix",
    "cayley_matrix",
    "circuit_matrix",
    "doubly_stochastic",
    "elu_features",
    "entropic_pivot_attention",
    "feature_attention",
    "feature_step",
    "harmonic_mass",
    "linear_attention",
    "pivot_attention",
    "prefix_pivot_attention",
    "prefix_pivot_step",
    "qr_matrix",
    "sinkhorn_attention",
    "sliced_attention",
    "soft_sliced_attention",
    "softmax_attention",
]

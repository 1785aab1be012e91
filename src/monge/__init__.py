"""Optimal transport for deep learning, in PyTorch: everything is a Coupling."""

from . import coupling, geometry, gradient, kernels, nn, problem, sliced, solver
from ._version import __version__
from .api import couple, divergence, pairwise, wasserstein
from .coupling import Coupling
from .errors import TransportError
from .problem import AtMost, Fixed, Free, Linear, Relaxed, relative
from .solver import explain, solve

__all__ = [
    "AtMost",
    "Coupling",
    "Fixed",
    "Free",
    "Linear",
    "Relaxed",
    "TransportError",
    "__version__",
    "couple",
    "coupling",
    "divergence",
    "explain",
    "geometry",
    "gradient",
    "kernels",
    "nn",
    "pairwise",
    "problem",
    "relative",
    "sliced",
    "solve",
    "solver",
    "wasserstein",
]

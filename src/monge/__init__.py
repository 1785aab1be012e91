"""Optimal transport for deep learning, in PyTorch: everything is a Coupling."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from . import coupling, geometry, gradient, kernels, problem, solver
from ._version import __version__
from .api import (
    Gaussian,
    barycenter,
    barycenter_on,
    citation,
    couple,
    couple_ahead,
    divergence,
    divergence_test,
    explain,
    linear_assignment,
    pairwise,
    wasserstein,
)
from .coupling import Coupling
from .errors import TransportError
from .problem import AtMost, Fixed, Free, Linear, Relaxed, relative
from .solver import solve

if TYPE_CHECKING:
    from . import adapt, convert, data, loss, nn, plot, registration, sequences, sliced, testing, train

# Rooms that are opened when somebody first asks for them, so that the face comes up at once.
_LATER = ("adapt", "convert", "data", "loss", "nn", "plot", "registration", "sequences", "sliced", "testing", "train")

__all__ = [
    "AtMost",
    "Coupling",
    "Fixed",
    "Free",
    "Gaussian",
    "Linear",
    "Relaxed",
    "TransportError",
    "__version__",
    "adapt",
    "barycenter",
    "barycenter_on",
    "citation",
    "convert",
    "couple",
    "couple_ahead",
    "coupling",
    "data",
    "divergence",
    "divergence_test",
    "explain",
    "geometry",
    "gradient",
    "kernels",
    "linear_assignment",
    "loss",
    "nn",
    "pairwise",
    "plot",
    "problem",
    "registration",
    "relative",
    "sequences",
    "sliced",
    "solve",
    "solver",
    "testing",
    "train",
    "wasserstein",
]


def __getattr__(name: str) -> ModuleType:
    if name in _LATER:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

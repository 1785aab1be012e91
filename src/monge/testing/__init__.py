"""Tests for your own code: a suite for each contract, problems with known answers, strategies for hypothesis.

`check_coupling`, `check_geometry`, `check_penalty`, `check_solver`, `check_coupler` and `check_objective` take
something that you have written, and fail with a sentence that says what is wrong with it.

The strategies live in `monge.testing.strategies`, which imports hypothesis; nothing else here does.
"""

from .check_coupler import check_coupler
from .check_coupling import check_coupling
from .check_geometry import check_geometry
from .check_objective import check_objective
from .check_penalty import check_penalty
from .check_solver import check_solver
from .examples import Example, couplings
from .largest_tensor import LargestTensor
from .problems import Answered, dirac, gaussians, permuted, quantiles, spread, translated
from .reference import reference_matrix
from .transport_problems import transport_problems

__all__ = [
    "Answered",
    "Example",
    "LargestTensor",
    "check_coupler",
    "check_coupling",
    "check_geometry",
    "check_objective",
    "check_penalty",
    "check_solver",
    "couplings",
    "dirac",
    "gaussians",
    "permuted",
    "quantiles",
    "reference_matrix",
    "spread",
    "translated",
    "transport_problems",
]

"""Set up before the first import of monge: shapes become checked types, and every test starts from the same seed."""

from __future__ import annotations

import importlib.util
import random
import sys

import pytest

# Shapes in signatures are checked while the tests run, where the checker is installed. Modules are wrapped as they are
# imported, so this stands before the first import of the library.
if importlib.util.find_spec("beartype") and "monge" not in sys.modules:
    from _shapes import check_shapes_of

    check_shapes_of("monge")
    check_shapes_of("monge_papers")

import jaxtyping
import numpy as np
import torch

# A busy machine is no failure: generated tests are not timed, neither as a whole nor while they draw.
if importlib.util.find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("no clock")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Randomness that a test forgets to seed is still the same in every run and in any order."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness, as the library wants it passed."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def unchecked_shapes():
    """Without the run-time checks of shapes, which the tracer cannot follow."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

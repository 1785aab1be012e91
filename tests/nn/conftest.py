"""Fixtures of the attention room."""

from __future__ import annotations

import jaxtyping
import pytest


@pytest.fixture
def unchecked_shapes():
    """Without the run-time checks of shapes, which the tracer cannot follow."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

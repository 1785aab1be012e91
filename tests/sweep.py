"""Generated instances of a kind of fault: some in every run, thousands in the slow one."""

from __future__ import annotations

import pytest

__all__ = ["sweep"]


def sweep(default: int, slow: int = 10_000) -> pytest.MarkDecorator:
    """Hand ``seeds`` to a test: the first ``default`` always, those up to ``slow`` under ``pytest -m slow``.

    The test loops over the seeds, makes one instance from each with a generator of its own, and names the seed in its
    message, so that a failure can be repeated alone.
    """
    few = pytest.param(range(default), id=f"{default}-instances")
    many = pytest.param(range(default, slow), id=f"{slow}-instances", marks=pytest.mark.slow)
    return pytest.mark.parametrize("seeds", [few, many])

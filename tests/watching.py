"""Calls of Python functions, watched while something runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

__all__ = ["profiled"]


def profiled(call: Callable[[], object], watch: Callable[[FrameType, str, object], None]) -> None:
    """Run a call while somebody watches."""
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)

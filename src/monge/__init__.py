"""Optimal transport for deep learning, in PyTorch: everything is a Coupling."""

from __future__ import annotations

from ._version import __version__

__all__ = ["__version__"]

"""Derivatives that are differentiated again: those written by hand step aside for the definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["again", "derivatives"]


def again() -> bool:
    """Whether a backward runs for those who asked for its graph."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def derivatives(out: Tensor, inputs: Sequence[Tensor | None], slope: Tensor) -> list[Tensor | None]:
    """Derivatives of ⟨out, slope⟩ along the inputs that have one, themselves differentiable."""
    sources = [t for t in inputs if t is not None and t.requires_grad]
    slopes = iter(torch.autograd.grad(out, sources, slope, create_graph=True, allow_unused=True))
    return [next(slopes) if t is not None and t.requires_grad else None for t in inputs]

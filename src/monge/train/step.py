"""The account of one step of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Step"]


@dataclass(frozen=True, eq=False)
class Step:
    """The value that a loop over a trainer, and every callback, receives after a step.

    Args:
        number: steps done so far, this one included.
        loss: the loss of this step, the mean over processes, on its device; to read it you must wait for the device.
        gradient_norm: the norm of the gradient of all weights together, before it was clipped.
        figures: the measurements on the part ``"valid"`` after this step, None if it was not evaluated.
    """

    number: int
    loss: Tensor
    gradient_norm: Tensor
    figures: Mapping[str, float] | None

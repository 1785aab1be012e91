"""What a step of a run did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Step"]


@dataclass(frozen=True, eq=False)
class Step:
    """What a loop over a trainer sees after every step, and callbacks with it.

    Args:
        number: steps done so far, this one included.
        loss: of this step, the mean over processes, on its device: reading it waits for the device.
        gradient_norm: of all weights together, before it was clipped.
        figures: what was measured on the part ``"valid"`` after this step, None where it was not.
    """

    number: int
    loss: Tensor
    gradient_norm: Tensor
    figures: Mapping[str, float] | None

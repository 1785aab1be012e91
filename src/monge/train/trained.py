"""A finished run: its model and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import nn

__all__ = ["Trained"]

Model = TypeVar("Model", bound=nn.Module)
Numbers = TypeVar("Numbers")


@dataclass(frozen=True)
class Trained(Generic[Model, Numbers]):
    """The result of a run.

    Args:
        model: the model with the weights that were best on the validation part, in evaluation mode.
        result: the final measurements.
        records: the measurements during training, as in ``metrics.jsonl``.
    """

    model: Model
    result: Numbers
    records: list[dict[str, Any]]

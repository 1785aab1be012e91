"""Some problems of a batch, for a representation that knows only its blocks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._sided import Picked
from monge._value import value

from . import _stream
from .base import Coupling


@value
class Selected(Picked, Coupling):
    """Some problems of a plan."""

    def _shape(self) -> tuple[int, ...]:
        chosen = torch.empty(self.batch, dtype=torch.bool)[self.index].shape
        return (*chosen, *self.held._shape()[-2:])

    def _scalars_per_entry(self) -> int:
        return self.batch.numel() * self.held._scalars_per_entry()

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return _stream.matmul(self, v)

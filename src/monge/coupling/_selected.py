"""Some problems of a batch, for a representation that knows only its blocks."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import pick
from monge._value import value

from . import _stream
from .base import Coupling, Rows

__all__ = ["Selected"]


@value
class Selected(Coupling):
    """The problems of P at ``index``, where P is seen as a batch of shape ``batch``."""

    P: Coupling
    index: tuple[Any, ...]
    batch: torch.Size

    def _shape(self) -> tuple[int, ...]:
        chosen = torch.empty(self.batch, dtype=torch.bool)[self.index].shape
        return (*chosen, *self.P._shape()[-2:])

    def _scalars_per_entry(self) -> int:
        return self.batch.numel() * self.P._scalars_per_entry()

    def _transpose(self) -> Selected:
        return self._make(P=self.P._transpose(), index=self.index, batch=self.batch)

    def _select(self, index: tuple[Any, ...], batch: torch.Size) -> Any:
        return self._selected(index, batch)

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return _stream.matmul(self, v)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return pick(self.P._block(rows), 2, self.batch, self.index)

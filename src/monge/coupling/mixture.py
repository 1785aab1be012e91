"""An average of plans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_floating
from monge._value import value
from monge.errors import ShapeError

from ._questions import recompute
from .base import Coupling, Rows

__all__ = ["MixtureCoupling"]

_CHUNK = 2**22  # numbers that one chunk of components may hold


@value
class MixtureCoupling(Coupling):
    """sum_l weights_l P_l of plans of one kind: what slices and minibatches give.

    Args:
        component: A coupling with one more batch dimension, the last: (*b, L, n, m).
        weights: (*b, L), non-negative.

    Example:
        >>> import torch
        >>> from monge.coupling import MixtureCoupling, PermutationCoupling
        >>> both = PermutationCoupling(torch.tensor([[0, 1], [1, 0]]))
        >>> MixtureCoupling(both, torch.tensor([0.75, 0.25])).dense()
        tensor([[0.3750, 0.1250],
                [0.1250, 0.3750]])
    """

    component: Coupling
    weights: Float[Tensor, "*b L"]
    _core: ClassVar[dict[str, int]] = {"weights": 1}

    def __post_init__(self) -> None:
        check_floating("weights", self.weights)
        batch = self.component.batch_shape
        if not batch or self.weights.shape[-1] != batch[-1]:
            raise ShapeError(
                f"component must have a batch dimension for the {self.weights.shape[-1]} weights, the last one, "
                f"but its batch is {tuple(batch)}."
            )

    def _shape(self) -> tuple[int, ...]:
        *batch, n, m = self.component._shape()
        return (*torch.broadcast_shapes(tuple(batch[:-1]), self.weights.shape[:-1]), n, m)

    def _chunks(self, size: int) -> Iterator[tuple[Coupling, Tensor]]:
        """Runs of components, short enough that ``size`` numbers for each of them fit."""
        batch = self.component.batch_shape
        step = max(1, _CHUNK // max(1, batch[:-1].numel() * size))
        for start in range(0, batch[-1], step):
            cut = slice(start, start + step)
            index = (*(slice(None),) * (len(batch) - 1), cut)
            part = self.component if step >= batch[-1] else self.component._select(index, batch)
            yield part, self.weights[..., cut]

    def _transpose(self) -> Coupling:
        return MixtureCoupling._make(component=self.component._transpose(), weights=self.weights)

    def _matmul(self, v: Tensor) -> Tensor:
        def body(part: Coupling, weights: Tensor) -> Tensor:
            return (weights[..., None, None] * part._matmul(v.unsqueeze(-3))).sum(-3)

        size = self._shape()[-2] * v.shape[-1]
        total: Tensor | None = None
        for part, weights in self._chunks(size):
            found = recompute(body, part, weights)
            total = found if total is None else total + found
        assert total is not None
        return total

    def _block(self, rows: Rows) -> Tensor:
        *_, n, m = self._shape()
        count = len(range(*rows.indices(n))) if isinstance(rows, slice) else len(rows)
        total: Tensor | None = None
        for part, weights in self._chunks(max(1, count * m)):
            found = (weights[..., None, None] * part._block(rows)).sum(-3)
            total = found if total is None else total + found
        assert total is not None
        return total

    def _marginals(self) -> tuple[Tensor, Tensor]:
        row, col = self.component._marginals()
        return (self.weights[..., None] * row).sum(-2), (self.weights[..., None] * col).sum(-2)

    def _inner(self, geometry: Any) -> Tensor:
        entries = self.component._entries()
        if entries is None:
            return super()._inner(geometry)
        i, j, w = entries
        cost = geometry._entries(i.flatten(-2), j.flatten(-2)).unflatten(-1, i.shape[-2:])
        each = torch.where(w > 0, w * torch.where(w > 0, cost, 0), 0).sum(-1)
        return (self.weights * each).sum(-1)

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        scaled = self.component._scale(row.unsqueeze(-2), col.unsqueeze(-2))
        return MixtureCoupling._make(component=scaled, weights=self.weights)

    def _select(self, index: Any, batch: torch.Size) -> Coupling:
        whole = torch.Size((*batch, self.weights.shape[-1]))
        chosen = self.component._select(index, whole)
        weights = self.weights.expand(whole)[index]
        return MixtureCoupling._make(component=chosen, weights=weights)

"""Values between source points and target points: a batch of problems to pick from, and to read from either side."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from ._arrays import broadcast_shapes, pick
from ._value import Value, value

__all__ = ["Picked", "Sided"]

# The dimensions in an annotation such as Float[Tensor, "*b n d"].
_DIMENSIONS = re.compile(r"Tensor, *['\"]([^'\"]*)")


class Sided(Value):
    """A value of many problems, each between source points and target points: costs, and plans.

    The shapes that its fields are annotated with are read: of ``x: Float[Tensor, "*b n d"]`` all dimensions but two
    belong to the batch, and what is annotated without ``*b`` belongs to all problems.
    """

    # Each field of the source points, with that of the target points. The first pair counts them.
    _sides: ClassVar[tuple[tuple[str, str], ...]] = ()
    # How many dimensions of each field are those of one problem; and the same of fields that belong to the batch.
    _core: ClassVar[dict[str, int]] = {}
    _batched: ClassVar[dict[str, int]] = {}

    def __init_subclass__(cls) -> None:
        """Read the shapes of the fields."""
        super().__init_subclass__()
        found = ((name, _DIMENSIONS.search(str(told))) for name, told in cls.__annotations__.items())
        shapes = {name: match[1].split() for name, match in found if match}
        batched = {name: len(shape) - 1 for name, shape in shapes.items() if shape[0].startswith("*")}
        cls._core = cls._core | {name: len(shape) for name, shape in shapes.items()} | batched
        cls._batched = cls._batched | batched

    def _counts(self) -> tuple[int, int]:
        """How many source points and target points there are."""
        source, target = self._named_sides()[0]
        return getattr(self, source).shape[-self._core[source]], getattr(self, target).shape[-self._core[target]]

    def _named_sides(self) -> tuple[tuple[str, str], ...]:
        if not self._sides:
            raise TypeError(f"{type(self).__name__} must write _transpose, or name the fields of its two _sides.")
        return self._sides

    def _batches(self) -> dict[str, torch.Size]:
        """The batch dimensions of each of its tensors."""
        parts = ((name, getattr(self, name), core) for name, core in self._batched.items())
        return {name: part.shape[: part.ndim - core] for name, part, core in parts if isinstance(part, Tensor)}

    def _leading(self) -> torch.Size:
        """The batch dimensions of all."""
        return broadcast_shapes(*self._batches().values())

    def _transpose(self) -> Self:
        """The same, read from the other side."""
        held = self._contents()
        held |= {name: part._transpose() for name, part in held.items() if isinstance(part, Sided)}
        for source, target in self._named_sides():
            held[source], held[target] = held[target], held[source]
        return self._make(**held)

    def _select(self, index: tuple[Any, ...], batch: torch.Size) -> Self:
        """The problems at ``index``, seen as a batch of shape ``batch``."""
        held = self._contents()
        if any(isinstance(part, Tensor) and name not in self._core for name, part in held.items()):
            return self._selected(index, batch)
        picked = {name: self._picked(name, part, index, batch) for name, part in held.items()}
        return self._make(**picked)

    def _picked(self, name: str, part: Any, index: tuple[Any, ...], batch: torch.Size) -> Any:
        if isinstance(part, Sided):
            return part._select(index, batch)
        if isinstance(part, tuple):
            return tuple(self._picked(name, item, index, batch) for item in part)
        return pick(part, self._batched[name], batch, index) if name in self._batched else part

    @abstractmethod
    def _selected(self, index: tuple[Any, ...], batch: torch.Size) -> Any:
        """The same for a value that does not say which dimensions of its tensors belong to the batch."""


@value
class Picked(Sided):
    """The problems at ``index`` of ``held``, seen as a batch of shape ``batch``, of which only blocks are known."""

    held: Any
    index: tuple[Any, ...]
    batch: torch.Size

    def _block(self, rows: slice | Tensor) -> Tensor:
        return pick(self.held._block(rows), 2, self.batch, self.index)

    def _transpose(self) -> Self:
        return self._make(held=self.held._transpose(), index=self.index, batch=self.batch)

    def _select(self, index: tuple[Any, ...], batch: torch.Size) -> Any:
        return self._selected(index, batch)

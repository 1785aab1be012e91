"""Frozen values made of tensors: the base of geometries, couplings, problems, solvers and solutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from typing_extensions import Self, dataclass_transform

from ._arrays import is_mapped
from ._transforms import transformable

__all__ = ["Value", "tensors_in", "value"]

_T = TypeVar("_T", bound=type)


class Value:
    """A frozen dataclass whose tensors can be visited, moved and detached together.

    Equality is identity and hashing follows it: comparing tensors elementwise would be a surprise.
    """

    # Its fields, in order of declaration.
    _names: ClassVar[tuple[str, ...]] = ()
    # Whether, as an answer to those who passed arrays of NumPy, it holds arrays of NumPy itself.
    _gives_numpy: ClassVar[bool] = False
    # Whether, as a map, it takes points of any float type and gives images of that type.
    _any_dtype: ClassVar[bool] = False

    @classmethod
    def _make(cls, **contents: Any) -> Self:
        """Build without validation, for contents that are known to be good."""
        made = object.__new__(cls)
        for name, content in contents.items():
            object.__setattr__(made, name, content)
        return made

    def _enter(self) -> None:
        """What happens to the contents before they are checked: rooms that users build values of take arrays here."""

    def _replace(self, **changes: Any) -> Self:
        """The same value with some of its contents exchanged, without validation."""
        return self._make(**{**self._contents(), **changes})

    def _contents(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same value with ``function`` applied to every tensor it holds, nested values included."""
        return self._make(**{name: _map_content(held, function) for name, held in self._contents().items()})

    def _tensors(self) -> Iterator[Tensor]:
        """Every tensor it holds, in order of declaration."""
        return tensors_in(tuple(self._contents().values()))

    def detach(self) -> Self:
        """The same value, cut from the graph of autograd."""
        return self._map(Tensor.detach)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same value elsewhere: arguments as in ``torch.Tensor.to``; integer tensors keep their dtype."""

        def move(tensor: Tensor) -> Tensor:
            if tensor.is_floating_point():
                return tensor.to(*args, **kwargs)
            # An index on its way through half precision would be another one.
            return tensor.to(torch.empty(0, device=tensor.device).to(*args, **kwargs).device)

        return self._map(move)

    @property
    def dtype(self) -> torch.dtype:
        """The floating dtype of the numbers it holds."""
        return next(t.dtype for t in self._tensors() if t.is_floating_point())

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""
        return next(t.device for t in self._tensors())

    def __repr__(self) -> str:
        """Names and shapes, never numbers: a value may hold a million of them."""
        shown = (f"{name}={_show(held)}" for name, held in self._contents().items())
        return f"{type(self).__name__}({', '.join(shown)})"


def tensors_in(held: Any) -> Iterator[Tensor]:
    """Every tensor of a field, in order: many questions need but the first."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, (Value, tuple)):
        for part in held if isinstance(held, tuple) else held._contents().values():
            yield from tensors_in(part)


def _map_content(held: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(held, Tensor):
        return function(held)
    if isinstance(held, Value):
        return held._map(function)
    if isinstance(held, tuple):
        return tuple(_map_content(item, function) for item in held)
    return held


class _Child:
    """Where a tensor or a value stood."""


def _shape_of(held: Any, children: list[Any]) -> Any:
    """What is left of a field when tensors and values are taken out of it, to be put back in order by `_filled`."""
    if isinstance(held, (Tensor, Value)):
        children.append(held)
        return _Child
    if not isinstance(held, tuple):
        return held
    before = len(children)
    parts = tuple(_shape_of(item, children) for item in held)
    return held if len(children) == before else parts


def _filled(shape: Any, children: Iterator[Any]) -> Any:
    if shape is _Child:
        return next(children)
    return tuple(_filled(item, children) for item in shape) if isinstance(shape, tuple) else shape


def _show(held: Any) -> str:
    if isinstance(held, Tensor):
        if held.ndim == 0 and held.device.type == "cpu":
            return f"{held.item():.4g}"
        return f"{str(held.dtype).removeprefix('torch.')}{list(held.shape)}"
    if getattr(held, "ndim", 0):
        return f"{held.dtype}{list(held.shape)}"
    if isinstance(held, tuple):
        return "(" + ", ".join(_show(item) for item in held) + ")"
    return repr(held)


def _checked(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """``__post_init__``, which may mend fields, as a node of ``torch.vmap``, since it reads numbers."""
    if hasattr(check, "__wrapped__"):
        return check

    @transformable(constant=True)
    def complete(raw: Value) -> Value:
        check(raw)
        return raw

    @wraps(check)
    def entered(self: Value) -> None:
        self._enter()
        if not is_mapped():
            check(self)
            return
        for name, content in complete(self)._contents().items():
            object.__setattr__(self, name, content)

    return entered


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
def value(cls: _T) -> _T:
    """Make a subclass of `Value` a frozen dataclass and a pytree whose leaves are its tensors."""
    made = dataclass(frozen=True, eq=False, repr=False)(cls)
    if hasattr(made, "__post_init__"):
        made.__post_init__ = _checked(made.__post_init__)
    made._names = names = tuple(field.name for field in fields(made))

    def flatten(held: Any) -> tuple[list[Any], tuple[tuple[str, Any], ...]]:
        children: list[Any] = []
        return children, tuple((name, _shape_of(getattr(held, name), children)) for name in names)

    def unflatten(leaves: Any, context: Any) -> Any:
        rest = iter(leaves)
        return made._make(**{name: _filled(shape, rest) for name, shape in context})

    pytree.register_pytree_node(made, flatten, unflatten, serialized_type_name=f"{made.__module__}.{made.__name__}")
    return made

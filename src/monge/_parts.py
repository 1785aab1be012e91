"""Arguments and answers taken apart into tensors and a way back."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from .errors import CapabilityError

__all__ = ["Parts", "parts_of"]

Build = Callable[[Sequence[Tensor]], Any]


class Parts:
    """Whatever holds tensors: in lists, frozen values, parameters of modules, and in what functions close over.

    Attributes:
        tensors: Every tensor once.
        generators: Sources of randomness.
        constants: All else, in one order.
    """

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.generators: list[torch.Generator] = []
        self.constants: list[Any] = []
        self.modules: dict[str, dict[str, int]] = {}
        self._holder = nn.Module()
        self._known: dict[int, tuple[Any, Build]] = {}
        self._root: Build = lambda _: None

    def build(self, tensors: Sequence[Tensor]) -> Any:
        """The same with other tensors in place of those found; one object twice stays one object."""
        return self._root(tensors)

    def within(self, tensors: Sequence[Tensor], function: Callable[[Any], Any]) -> Any:
        """``function(build(tensors))`` while the modules hold these tensors too."""
        if not self.modules:
            return function(self.build(tensors))
        held = {f"{at}.{name}": tensors[k] for at, names in self.modules.items() for name, k in names.items()}
        return torch.func.functional_call(_Within(self._holder), {f"holder.{n}": t for n, t in held.items()}, (
            lambda: function(self.build(tensors)),
        ))  # fmt: skip

    def same_form(self, other: Parts, name: str) -> None:
        """Constants of another answer must be these; of an enumeration, listed from best to worst, the worse stays."""
        for k, (mine, theirs) in enumerate(zip(self.constants, other.constants, strict=False)):
            if isinstance(mine, Enum) and type(mine) is type(theirs):
                order = list(type(mine))
                self.constants[k] = max(mine, theirs, key=order.index)
            elif mine is not theirs and not (type(mine) is type(theirs) and mine == theirs):
                raise CapabilityError(
                    f"Under torch.vmap the answers of {name} must have one form, but one holds {mine!r} where another "
                    f"holds {theirs!r}: pass the clouds as one batch instead."
                )

    def _take(self, held: Any) -> Build:
        known = self._known.get(id(held))
        if known is None:
            known = self._known[id(held)] = held, self._part(held)
        return known[1]

    def _part(self, held: Any) -> Build:
        if isinstance(held, Tensor):
            k = len(self.tensors)
            self.tensors.append(held)
            return lambda tensors: tensors[k]
        if isinstance(held, nn.Module):
            return self._module(held)
        if isinstance(held, (list, tuple)):
            kind = type(held)
            make = kind._make if hasattr(kind, "_make") else kind  # type: ignore[attr-defined]
            return self._joined(list(held), make)
        if isinstance(held, dict):
            names = list(held)
            return self._joined(list(held.values()), lambda values: dict(zip(names, values, strict=True)))
        if isinstance(held, functools.partial):
            return self._joined(
                [held.func, held.args, held.keywords], lambda found: functools.partial(found[0], *found[1], **found[2])
            )
        if isinstance(held, types.MethodType):
            return self._joined([held.__self__], lambda found: types.MethodType(held.__func__, found[0]))
        if isinstance(held, types.FunctionType):
            return self._function(held)
        if dataclasses.is_dataclass(held) and not isinstance(held, type):
            return self._dataclass(held)
        if isinstance(held, torch.Generator):
            self.generators.append(held)
            return lambda _: held
        k = len(self.constants)
        self.constants.append(held)
        return lambda _: self.constants[k]

    def _joined(self, items: list[Any], make: Callable[[list[Any]], Any]) -> Build:
        builds = [self._take(item) for item in items]
        return _once(lambda tensors: make([build(tensors) for build in builds]))

    def _module(self, module: nn.Module) -> Build:
        at = f"m{len(self.modules)}"
        self._holder.add_module(at, module)
        places = self.modules[at] = {}
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            self._take(tensor)
            places[name] = next(k for k, t in enumerate(self.tensors) if t is tensor)
        return lambda _: module

    def _dataclass(self, held: Any) -> Build:
        names = [field.name for field in dataclasses.fields(held)]

        def make(values: list[Any]) -> Any:
            made = object.__new__(type(held))
            for name, content in zip(names, values, strict=True):
                object.__setattr__(made, name, content)
            return made

        return self._joined([getattr(held, name) for name in names], make)

    def _function(self, function: types.FunctionType) -> Build:
        cells = function.__closure__ or ()
        filled = [cell.cell_contents if _full(cell) else None for cell in cells]
        defaults, named = function.__defaults__, function.__kwdefaults__
        before = len(self.tensors)
        # Marked first: a function may close over itself.
        self._known[id(function)] = function, lambda _: function
        builds = [self._take(held) for held in (*filled, defaults, named)]
        if len(self.tensors) == before:
            return lambda _: function

        def make(tensors: Sequence[Tensor]) -> Any:
            *contents, new_defaults, new_named = (build(tensors) for build in builds)
            closure = tuple(types.CellType(content) for content in contents)
            made = types.FunctionType(
                function.__code__, function.__globals__, function.__name__, new_defaults, closure or None
            )
            made.__kwdefaults__ = new_named
            return made

        return make


class _Within(nn.Module):
    """A module to put others into, so that torch can lend them other parameters."""

    def __init__(self, holder: nn.Module) -> None:
        super().__init__()
        self.holder = holder

    def forward(self, function: Callable[[], Any]) -> Any:
        """Run while they are lent."""
        return function()


def parts_of(held: Any) -> Parts:
    """What ``held`` is made of."""
    parts = Parts()
    parts._root = parts._take(held)
    return parts


def _full(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _once(make: Build) -> Build:
    """Built once for every set of tensors, so that what was one object before is one object again."""
    last: list[Any] = [None, None]

    def build(tensors: Sequence[Tensor]) -> Any:
        if last[0] is not tensors:
            last[:] = [tensors, make(tensors)]
        return last[1]

    return build

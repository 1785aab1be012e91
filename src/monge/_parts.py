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

_PLAIN = (str, int, float, bool, type(None))
Build = Callable[[Sequence[Tensor]], Any]


class Parts:
    """Whatever holds tensors: in lists, frozen values, parameters of modules, and in what functions close over.

    Attributes:
        tensors: Every tensor once.
        generators: Sources of randomness.
        constants: All else, in one order.
    """

    def __init__(self, modules: bool = True) -> None:
        self._modules = modules
        self.tensors: list[Tensor] = []
        self.generators: list[torch.Generator] = []
        self.constants: list[Any] = []
        self.modules: dict[int, dict[str, int]] = {}
        self._holders: list[nn.Module] = []
        self._known: dict[int, tuple[Any, Build]] = {}
        self._root: Build = lambda _: None

    def build(self, tensors: Sequence[Tensor]) -> Any:
        """The same with other tensors in place of those found; one object twice stays one object."""
        return self._root(tensors)

    def within(self, tensors: Sequence[Tensor], function: Callable[[Any], Any]) -> Any:
        """``function(build(tensors))`` while the modules hold these tensors too."""
        if not self.modules:
            return function(self.build(tensors))
        held = {f"holders.{at}.{name}": tensors[k] for at, names in self.modules.items() for name, k in names.items()}
        return torch.func.functional_call(_Within(self._holders), held, (
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
        if type(held) in _PLAIN:
            return self._constant(held)
        known = self._known.get(id(held))
        if known is None:
            known = self._known[id(held)] = held, self._part(held)
        return known[1]

    def _part(self, held: Any) -> Build:
        if isinstance(held, Tensor):
            k = len(self.tensors)
            self.tensors.append(held)
            return lambda tensors: tensors[k]
        if dataclasses.is_dataclass(held) and not isinstance(held, (type, nn.Module)):
            return self._dataclass(held)
        if isinstance(held, nn.Module):
            return self._module(held) if self._modules else lambda _: held
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
        if isinstance(held, torch.Generator):
            self.generators.append(held)
            return lambda _: held
        return self._constant(held)

    def _constant(self, held: Any) -> Build:
        k = len(self.constants)
        self.constants.append(held)
        return lambda _: self.constants[k]

    def _joined(self, items: list[Any], make: Callable[[list[Any]], Any]) -> Build:
        builds = [self._take(item) for item in items]
        return _once(lambda tensors: make([build(tensors) for build in builds]))

    def _module(self, module: nn.Module) -> Build:
        places = self.modules[len(self._holders)] = {}
        self._holders.append(module)
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            self._take(tensor)
            places[name] = next(k for k, t in enumerate(self.tensors) if t is tensor)
        return lambda _: module

    def _dataclass(self, held: Any) -> Build:
        names = _names_of(type(held))

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
        spoken = _globals_of(function)
        before = len(self.tensors)
        # Marked first: a function may close over itself.
        self._known[id(function)] = function, lambda _: function
        builds = [self._take(held) for held in (*filled, defaults, named, spoken)]
        if len(self.tensors) == before:
            return lambda _: function

        def make(tensors: Sequence[Tensor]) -> Any:
            *contents, new_defaults, new_named, new_globals = (build(tensors) for build in builds)
            closure = tuple(types.CellType(content) for content in contents)
            made = types.FunctionType(
                function.__code__, function.__globals__ | new_globals, function.__name__, new_defaults, closure or None
            )
            made.__kwdefaults__ = new_named
            return made

        return make


class _Within(nn.Module):
    """A module to put others into, so that torch can lend them other parameters."""

    def __init__(self, holders: list[nn.Module]) -> None:
        super().__init__()
        self.holders = nn.ModuleList(holders)

    def forward(self, function: Callable[[], Any]) -> Any:
        """Run while they are lent."""
        return function()


def parts_of(held: Any, modules: bool = True) -> Parts:
    """What ``held`` is made of; without ``modules`` their parameters, which belong to the caller, are left alone."""
    parts = Parts(modules)
    parts._root = parts._take(held)
    return parts


def _globals_of(function: types.FunctionType) -> dict[str, Any]:
    """Tensors, modules and functions of its own file that a function speaks of by global names."""
    world = function.__globals__
    found = {name: world[name] for name in _spoken(function.__code__) if name in world}
    return {
        name: held
        for name, held in found.items()
        if isinstance(held, (Tensor, nn.Module)) or (isinstance(held, types.FunctionType) and held.__globals__ is world)
    }


@functools.cache
def _spoken(code: types.CodeType) -> frozenset[str]:
    inner = (_spoken(held) for held in code.co_consts if isinstance(held, types.CodeType))
    return frozenset(code.co_names).union(*inner)


@functools.cache
def _names_of(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


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

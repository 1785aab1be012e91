"""What the arguments of an operator must be, declared where its schema is."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes
from monge.errors import DeviceError, DtypeError, InputError, ShapeError

_ARGUMENT = re.compile(r"(Tensor\??|float|int|bool|str)(?:\[([^\]]*)\])? (\w+)")
_ORDERS = {"<": operator.lt, "<=": operator.le}
# There may be no problem at all; whatever else is counted is there.
_COUNTS = ("rows", "heads")


class Kind(NamedTuple):
    """All that a rule asks of a tensor."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, held: Any) -> Any:
        """That of a tensor; what is none stays."""
        return cls(held.shape, held.dtype, held.device) if isinstance(held, Tensor) else held


class Rules:
    """A schema of torch with rules in square brackets behind its types, and the check of what is passed.

    ``Tensor[*b n d] x``
        The sizes of a tensor. One name is one size in all arguments; ``#n`` may also be one; ``n//2`` is half of it;
        ``*b`` in front are the dimensions of a batch, which broadcast; ``...`` are those that broadcast to the batch of
        the tensors before. A whole number that is an argument is a size too.
    ``Tensor[rows n; float64] x``
        Dtypes behind a semicolon; ``same``, or no semicolon, is the dtype of the first tensor.
    ``float[0 <= p < 1] p``, ``int[1 <= k <= m] k``, ``str[norm dot] kind``
        The range of a number, which may end at sizes, and the words that are known.

    Args:
        schema: What torch would be told, with the rules; the first argument is a tensor.
        dtypes: The dtypes that the first tensor may have.
    """

    def __init__(self, schema: str, dtypes: Sequence[torch.dtype]) -> None:
        given, arrow, answers = schema.partition("->")
        self.schema = _ARGUMENT.sub(r"\1 \3", given) + arrow + answers
        self._dtypes = dtypes
        self._rules = [_rule(*found.groups("")) for found in _ARGUMENT.finditer(given)]

    @property
    def cores(self) -> list[int | None]:
        """How many dimensions of its own each argument has behind those of a batch; None for what has no batch."""
        return [len(rule.sizes) if isinstance(rule, _Array) and rule.batch else None for rule in self._rules]

    def check(self, *arguments: Any) -> None:
        """Arguments of the types that the schema names must keep the rules; tensors are told by their `Kind`.

        Raises:
            ShapeError, DtypeError, DeviceError, InputError: If one does not.
        """
        for rule, held in zip(self._rules, arguments, strict=True):
            # Torch takes None for any tensor.
            if held is None and not rule.optional:
                raise InputError(f"{rule.name} must be a tensor, but is None: pass one.")
        first, name = arguments[0], self._rules[0].name
        if first.dtype not in self._dtypes:
            _refuse_dtype(name, self._dtypes, first)
        sizes = {rule.name: held for rule, held in zip(self._rules, arguments, strict=True) if type(held) is int}
        batch: Sequence[int] = ()
        for rule, held in zip(self._rules, arguments, strict=True):
            if isinstance(held, Kind):
                rule.check_kind(held, first, name)
                batch = rule.check_shape(held, sizes, batch)
        for rule, held in zip(self._rules, arguments, strict=True):
            if isinstance(held, (float, int, str)):
                rule.check(held, sizes)


class _Size(NamedTuple):
    """The rule of one size: what it is called, whether it may also be one, and of what it is a part."""

    name: str
    shared: bool
    part: int

    @classmethod
    def of(cls, word: str) -> _Size:
        """What a word of a rule says."""
        name, _, part = word.strip("#").partition("//")
        return cls(name, word.startswith("#"), int(part or 1))

    def among(self, sizes: dict[str, int]) -> int | None:
        """What it must be, None if nobody has said it yet."""
        size = int(self.name) if self.name.isdigit() else sizes.get(self.name)
        return None if size is None else size // self.part


@dataclass(frozen=True)
class _Array:
    """The rule of a tensor."""

    name: str
    optional: bool
    batch: str
    sizes: tuple[_Size, ...]
    dtypes: tuple[torch.dtype, ...]
    same: bool

    def check_kind(self, held: Kind, first: Kind, of_first: str) -> None:
        """Where it lives, and its dtype."""
        if held.device != first.device:
            raise DeviceError(
                f"{self.name} lives on {held.device}, but {of_first} on {first.device}: move one of them with .to()."
            )
        if held.dtype not in self.dtypes and not (self.same and held.dtype == first.dtype):
            _refuse_dtype(self.name, (*self.dtypes, first.dtype) if self.same else self.dtypes, held)

    def check_shape(self, held: Kind, sizes: dict[str, int], batch: Sequence[int]) -> Sequence[int]:
        """Compare the sizes with those that are known, remember the others, and answer the batch with this one.

        Sizes that a compiler has not decided are left to it.
        """
        cut = len(held.shape) - len(self.sizes)
        if cut < 0 or (cut and not self.batch):
            self._refuse(held, sizes, batch)
        for size, rule in zip(held.shape[cut:], self.sizes, strict=True):
            if type(size) is int and not (size == 1 and rule.shared):
                wanted = rule.among(sizes)
                if wanted is None and (size or rule.name in _COUNTS):
                    sizes[rule.name] = size
                elif size != wanted:
                    self._refuse(held, sizes, batch)
        if not cut:
            return batch
        try:
            together = broadcast_shapes(batch, held.shape[:cut])
        except RuntimeError:
            self._refuse(held, sizes, batch)
        if self.batch == "..." and tuple(together) != tuple(batch):
            self._refuse(held, sizes, batch)
        return together

    def _refuse(self, held: Kind, sizes: dict[str, int], batch: Sequence[int]) -> NoReturn:
        told = [str(size) for size in batch] if self.batch else []
        for rule in self.sizes:
            plain = str(rule.among(sizes) or rule.name)
            told.append(f"1 or {plain}" if rule.shared and plain != "1" else plain)
        raise ShapeError(
            f"{self.name} must have shape ({', '.join(told)}), but has shape {tuple(held.shape)}: give all arguments "
            "the sizes of one problem, none of them zero."
        )


@dataclass(frozen=True)
class _Range:
    """The rule of a number, as a chain of ends and the orders between them."""

    name: str
    words: tuple[str, ...]

    def check(self, held: float, sizes: dict[str, int]) -> None:
        """It must keep the rule."""
        ends = [held if word == self.name else _bound(word, sizes) for word in self.words[::2]]
        for one, order, two in zip(ends, self.words[1::2], ends[1:], strict=False):
            if one is not None and two is not None and not _ORDERS[order](one, two):
                told = " ".join(word if word == self.name else str(sizes.get(word, word)) for word in self.words)
                raise InputError(f"{self.name} must satisfy {told}, but is {held}: choose one that does.")


@dataclass(frozen=True)
class _Word:
    """The rule of a word."""

    name: str
    known: tuple[str, ...]

    def check(self, held: str, sizes: dict[str, int]) -> None:
        """It must be known."""
        if held not in self.known:
            told = " or ".join(map(repr, self.known))
            raise InputError(f"{self.name} must be {told}, but is {held[:40]!r}: choose one that is known.")


def _rule(kind: str, rule: str, name: str) -> Any:
    if not kind.startswith("Tensor"):
        return (_Word if kind == "str" else _Range)(name, tuple(rule.split()))
    shape, _, dtypes = rule.partition(";")
    words, named = shape.split(), dtypes.split() or ["same"]
    batch = words.pop(0) if words and words[0] in ("*b", "...") else ""
    kinds = tuple(getattr(torch, dtype) for dtype in named if dtype != "same")
    return _Array(name, kind.endswith("?"), batch, tuple(map(_Size.of, words)), kinds, "same" in named)


def _bound(word: str, sizes: dict[str, int]) -> float | None:
    """The end of a range: a number, or a sum of sizes, None if one is not known."""
    if word in sizes:
        return sizes[word]
    try:
        return float(word)
    except ValueError:
        parts = [sizes[part] for part in word.split("+") if part in sizes]
        return sum(parts) if len(parts) == word.count("+") + 1 else None


def _refuse_dtype(name: str, allowed: Sequence[torch.dtype], held: Kind) -> NoReturn:
    told = " or ".join(str(dtype).removeprefix("torch.") for dtype in dict.fromkeys(allowed))
    found = str(held.dtype).removeprefix("torch.")
    raise DtypeError(f"{name} must be of dtype {told}, but is {found}: convert it with .to().")

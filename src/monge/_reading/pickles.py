"""Pickles that hold plain data, read as a list of instructions that is followed only as far as it is harmless.

A pickle is a program: it names functions and has them called. Here the few that the reader knows are looked up in a
table of its own, and everything else is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError
from .budget import Budget

__all__ = ["encoded_bytes", "read_pickle"]

# More than the largest thing that an instruction of a few bytes makes, with its place in the memo.
_EACH = 256
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
# Strings of Python 2 are bytes.
_OLD_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict}
_KEYS = (str, bytes, int, float, type(None))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(
    content: bytes | bytearray,
    known: Mapping[str, Any],
    budget: Budget,
    *,
    load: Callable[[Any], Any] | None = None,
    build: Callable[[Any, Any], None] | None = None,
) -> Any:
    """What a pickle holds.

    Args:
        content: The pickle, without anything behind it.
        known: What the names in it stand for, as in ``{"collections.OrderedDict": OrderedDict}``. Those that can be
            called are called with whatever the pickle says, and have to be harmless.
        budget: Bytes that the answer may take.
        load: What belongs to a persistent identifier.
        build: Gives a thing the state that was pickled with it.

    Raises:
        InputError: If it asks for anything else.
    """
    budget.take(2 * len(content))
    machine = _Machine(known, load, build)
    stream = io.BytesIO(content)
    for code, argument, _ in pickletools.genops(stream):
        budget.take(_EACH)
        machine.follow(code.name, argument)
    if stream.tell() != len(content) or len(machine.stack) != 1:
        raise InputError("something follows where its pickle ends")
    return machine.stack[0]


def encoded_bytes(text: Any, coding: Any) -> bytes:
    """What ``_codecs.encode`` may stand for: in an old pickle bytes are a text and its coding."""
    if not isinstance(text, str) or coding not in ("latin1", b"latin1"):
        raise InputError("it encodes what is no text")
    return text.encode("latin-1")


class _Machine:
    """A stack of things, a memo of those that occur again, and marks where lists of arguments begin."""

    def __init__(self, known: Mapping[str, Any], load: Any, build: Any) -> None:
        self.known, self.load, self.build = known, load, build
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.marks: list[int] = []
        self.makers = {id(held) for held in known.values() if callable(held)}

    def follow(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _OLD_STRINGS:
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            stack.append(self._last(_TUPLES[name]))
        elif name in ("PROTO", "FRAME", "STOP"):
            pass
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name.endswith("PUT"):
            self.memo[argument] = stack[-1]
        elif name.endswith("GET"):
            stack.append(self.memo[argument])
        else:
            follow = getattr(self, f"_{name.lower()}", None)
            if follow is None:
                raise InputError(f"its pickle has the instruction {name}, which plain data do not need")
            follow(argument)

    def _last(self, count: int) -> tuple[Any, ...]:
        """Take the last things off the stack."""
        held = tuple(self.stack[len(self.stack) - count :]) if count else ()
        if len(held) != count:
            raise InputError("its pickle takes what is not there")
        del self.stack[len(self.stack) - count :]
        return held

    def _marked(self) -> tuple[Any, ...]:
        """Take everything off the stack that was put there since the last mark."""
        return self._last(len(self.stack) - self.marks.pop())

    def _mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _tuple(self, _: Any) -> None:
        self.stack.append(self._marked())

    def _list(self, _: Any) -> None:
        self.stack.append(list(self._marked()))

    def _dict(self, _: Any) -> None:
        held = self._marked()
        self.stack.append({})
        self._fill(held)

    def _append(self, _: Any) -> None:
        self._extend(self._last(1))

    def _appends(self, _: Any) -> None:
        self._extend(self._marked())

    def _setitem(self, _: Any) -> None:
        self._fill(self._last(2))

    def _setitems(self, _: Any) -> None:
        self._fill(self._marked())

    def _extend(self, held: tuple[Any, ...]) -> None:
        self._top(list).extend(held)

    def _fill(self, held: tuple[Any, ...]) -> None:
        # A tuple that holds one thing twice, which does so too, and so on, is small, but is not hashed in a lifetime.
        if not all(isinstance(key, _KEYS) for key in held[::2]):
            raise InputError("its pickle has a dictionary whose keys are no texts or numbers")
        self._top(dict).update(zip(held[::2], held[1::2], strict=True))

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise InputError(f"its pickle takes something for a {kind.__name__} that is none")
        return self.stack[-1]

    def _global(self, name: str) -> None:
        asked = name.replace(" ", ".", 1)
        if asked not in self.known:
            raise InputError(f"it asks for {asked[:80]}, which no array needs; save plain real numbers")
        self.stack.append(self.known[asked])

    def _stack_global(self, _: Any) -> None:
        module, name = self._last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise InputError("its pickle asks for something by what is no name")
        self._global(f"{module} {name}")

    def _reduce(self, _: Any) -> None:
        make, arguments = self._last(2)
        if id(make) not in self.makers or not isinstance(arguments, tuple):
            raise InputError("its pickle calls what is no function")
        self.stack.append(make(*arguments))

    def _build(self, _: Any) -> None:
        (state,) = self._last(1)
        if self.build is None:
            raise InputError("its pickle changes what it has made, which plain data do not need")
        self.build(self.stack[-1], state)

    def _binpersid(self, _: Any) -> None:
        (told,) = self._last(1)
        if self.load is None:
            raise InputError("its pickle refers to something outside of it")
        self.stack.append(self.load(told))

"""Things that are chosen by name, and how others add theirs.

A registry holds one kind of thing: couplers, solvers, penalties, costs. Each thing has a name, and one sentence that
says what it is. There are two ways to add one. A program calls `Registry.register`. An installed package declares an
entry point in the group of the registry; it is imported when its name is asked for, or when all things are asked for,
and never by ``import monge``.

A package that cannot be imported, that declares something of another kind, or that takes a name that is taken, is
named: by an `InputError` where its name is asked for, and by one `ExtensionWarning` where all things are. It disturbs
nothing else.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, overload

from ._checks import check_choice
from .errors import ExtensionWarning, InputError

__all__ = ["Registry", "check_derived"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name: those of the house, those that were registered, and those of installed packages.

    It is read by ``registry[name]``, ``name in registry`` and ``for name in registry``, which import nothing but the
    package whose name is asked for, and by ``registry.items()``, which imports all of them. A package adds a thing by
    an entry point, for instance in its ``pyproject.toml``: ``[project.entry-points."monge.couplers"]`` and, below it,
    ``mine = "my_package:MyCoupler"``.

    Args:
        kind: What one thing is called, as in "coupler"; messages say it.
        check: Refuses what is no such thing: it is handed the name and the thing, and raises an `InputError`.
        describe: The sentence of a thing that was registered without one; the first line of its docstring by default.

    Example:
        >>> from monge.registry import Registry
        >>> greetings = Registry("greeting")
        >>> greetings.register("morning", "good morning", "What is said before noon.")
        'good morning'
        >>> list(greetings), greetings["morning"], greetings.sentence("morning")
        (['morning'], 'good morning', 'What is said before noon.')
    """

    def __init__(
        self,
        kind: str,
        *,
        check: Callable[[str, object], None] | None = None,
        describe: Callable[[T], str] | None = None,
    ) -> None:
        self.kind = kind
        self._check, self._describe = check, describe or _first_line
        self._held: dict[str, T] = {}
        self._sentences: dict[str, str] = {}
        self._waiting: dict[str, EntryPoint] | None = None
        self._faults: dict[str, InputError] = {}
        self._told: set[str] = set()

    @property
    def plural(self) -> str:
        """What several things are called, as in "couplers" and "penalties"."""
        kind = self.kind.replace(" ", "_")
        return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"

    @property
    def group(self) -> str:
        """The group of entry points in which packages declare theirs, as in "monge.couplers"."""
        return f"monge.{self.plural}"

    @overload
    def register(self, name: str, thing: None = None, sentence: str | None = None) -> Callable[[T], T]: ...
    @overload
    def register(self, name: str, thing: T, sentence: str | None = None) -> T: ...

    def register(self, name: str, thing: T | None = None, sentence: str | None = None) -> T | Callable[[T], T]:
        """Add a thing under a name. Without the thing, this is a decorator of its class or function.

        Args:
            name: What it will be called; a name that is taken is refused.
            thing: What the name stands for.
            sentence: What it is, in one sentence; the first line of its docstring by default.

        Returns:
            The thing.

        Raises:
            InputError: If the name is empty or taken, or the thing is not of the kind.
        """
        if thing is None:
            return lambda made: self.register(name, made, sentence)
        if not isinstance(name, str) or not name:
            raise InputError(f"The name of a {self.kind} must be a word, but is {name!r}.")
        if name in self._held or name in (self._waiting or ()):
            raise InputError(f"There is a {self.kind} called {name!r} already: choose another name.")
        self._hold(name, thing, sentence)
        return thing

    def _hold(self, name: str, thing: T, sentence: str | None = None) -> None:
        if self._check is not None:
            self._check(name, thing)
        self._held[name] = thing
        self._sentences[name] = sentence or self._describe(thing)

    def require(self, name: str) -> None:
        """Refuse a name that stands for nothing.

        Raises:
            InputError: If nothing is registered or declared under the name, or its package is broken.
        """
        self[name]

    def sentence(self, name: str) -> str:
        """What the thing of a name is, in one sentence."""
        self.require(name)
        return self._sentences[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._held:
            waiting = self._declared()
            if name in self._faults:
                raise InputError(str(self._faults[name])) from self._faults[name].__cause__
            # All names, in the message, for one that is unknown; nothing is imported to say them.
            check_choice(self.kind, name, self)
            self._load(waiting.pop(name))
        return self._held[name]

    def __contains__(self, name: object) -> bool:
        return name in self._held or name in self._declared()

    def __iter__(self) -> Iterator[str]:
        return iter((*self._held, *self._declared()))

    def __len__(self) -> int:
        return len(self._held) + len(self._declared())

    def values(self) -> tuple[T, ...]:
        """All things, in the order of their names; packages are imported, and a broken one is warned of, once."""
        faults = self.faults()
        new = [told for name, told in faults.items() if name not in self._told]
        if new:
            self._told.update(faults)
            warnings.warn(" ".join(new), ExtensionWarning, stacklevel=2)
        return tuple(self._held.values())

    def items(self) -> tuple[tuple[str, T], ...]:
        """Names and things, of all that can be imported, as `values` gives them."""
        things = self.values()
        return tuple(zip(self._held, things, strict=True))

    def faults(self) -> dict[str, str]:
        """What is wrong with packages that declare things of this kind, by the name that they declare."""
        for name in tuple(self._declared()):
            with suppress(InputError):
                self[name]
        return {name: str(fault) for name, fault in self._faults.items()}

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self)})"

    def _declared(self) -> dict[str, EntryPoint]:
        """Entry points that nobody has asked for yet; they are read once."""
        if self._waiting is None:
            self._waiting = {}
            for point in entry_points(group=self.group):
                known = self._waiting.get(point.name)
                if known is not None and point.value == known.value:
                    continue  # one package that is found twice, as the one that is being developed often is
                if known is not None or point.name in self._held:
                    self._faults[point.name] = InputError(
                        f"{_package(point)} declares a {self.kind} {point.name!r}, but there is one of this name "
                        f"already{f', of {_package(known)}' if known else ''}: rename it, or uninstall one of the two."
                    )
                else:
                    self._waiting[point.name] = point
            for name in self._faults:
                # Of two packages neither is preferred.
                self._waiting.pop(name, None)
        return self._waiting

    def _load(self, point: EntryPoint) -> None:
        told = f"The {self.kind} {point.name!r} of {_package(point)}"
        try:
            try:
                thing = point.load()
            except Exception as error:
                raise InputError(
                    f"{told} cannot be imported from {point.value} ({type(error).__name__}: {error}): mend or "
                    "uninstall the package."
                ) from error
            try:
                self._hold(point.name, thing)
            except InputError as error:
                raise InputError(f"{told} cannot be used: {error}") from error
        except InputError as error:
            self._faults[point.name] = error
            raise


def check_derived(name: str, thing: object, base: type, where: str) -> None:
    """``thing`` must be a class that derives from ``base``, found at ``where``, and writes all that it asks for."""
    if not (isinstance(thing, type) and issubclass(thing, base)):
        raise InputError(f"{name!r} must be a class that derives from {where}, but is {thing!r}.")
    missing = sorted(getattr(thing, "__abstractmethods__", ()))
    if missing:
        raise InputError(f"{thing.__name__} lacks {' and '.join(missing)}: write all that {where} asks for.")


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or type(thing).__name__).partition("\n")[0]


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist is not None else "a package"

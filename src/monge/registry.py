"""Things that are chosen by name, and how others add theirs.

A registry holds one kind of thing: couplers, solvers, penalties, costs. Each thing has a name, and one sentence that
says what it is. There are two ways to add one. A program calls `Registry.register`. An installed package declares an
entry point in the group of the registry; it is imported when its name is asked for, or when all things are listed, and
never by ``import monge``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, overload

from ._checks import check_choice
from .errors import InputError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name: those of Monge, those that were registered, and those of installed packages.

    You read it by ``registry[name]``, ``name in registry`` and ``for name in registry``. A package adds a thing by an
    entry point, for instance in its ``pyproject.toml``: ``[project.entry-points."monge.couplers"]`` and, below it,
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

    @property
    def group(self) -> str:
        """The group of entry points in which packages declare theirs, as in "monge.couplers"."""
        return f"monge.{self.kind.replace(' ', '_')}s"

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
            raise InputError(
                f"The name of a {self.kind} must be a word, but is {name!r}: pass a text that is not empty."
            )
        if name in self._held:
            raise InputError(f"There is a {self.kind} called {name!r} already: choose another name.")
        if self._check is not None:
            self._check(name, thing)
        self._held[name] = thing
        self._sentences[name] = sentence or self._describe(thing)
        return thing

    def sentence(self, name: str) -> str:
        """What the thing of a name is, in one sentence."""
        self[name]
        return self._sentences[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._held:
            # All names, in the message, for one that is unknown; nothing is imported to say them.
            check_choice(self.kind, name, self)
            self._load(name)
        return self._held[name]

    def __contains__(self, name: object) -> bool:
        return name in self._held or name in self._declared()

    def __iter__(self) -> Iterator[str]:
        return iter((*self._held, *self._declared()))

    def __len__(self) -> int:
        return len(self._held) + len(self._declared())

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and things; what packages declare is imported."""
        return ((name, self[name]) for name in tuple(self))

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self)})"

    def _declared(self) -> dict[str, EntryPoint]:
        """Entry points that nobody has asked for yet."""
        if self._waiting is None:
            self._waiting = {}
            for point in entry_points(group=self.group):
                if point.name in self._waiting and point.value == self._waiting[point.name].value:
                    continue  # one package that is found twice, as the one that is being developed often is
                if point.name in self:
                    raise InputError(
                        f"{_package(point)} declares a {self.kind} {point.name!r}, but there is one of this name "
                        "already: rename it, or uninstall one of the two packages."
                    )
                self._waiting[point.name] = point
        return self._waiting

    def _load(self, name: str) -> None:
        point = self._declared()[name]
        try:
            thing = point.load()
        except Exception as error:
            raise InputError(
                f"The {self.kind} {name!r} of {_package(point)} cannot be imported from {point.value} "
                f"({type(error).__name__}: {error}): mend or uninstall the package."
            ) from error
        del self._declared()[name]
        self.register(name, thing)


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or type(thing).__name__).partition("\n")[0]


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist is not None else "a package"

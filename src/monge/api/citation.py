"""What to cite."""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple

from monge._version import __version__
from monge.errors import InputError

__all__ = ["citation"]

_ARXIV = re.compile(r"arXiv[: ]\s*(\d{4}\.\d{4,5}|[a-z-]+/\d{7})", re.IGNORECASE)
_YEAR = re.compile(r"\((\d{4})\)")
# What docstrings name as "Source:", up to the next section or the end.
_SOURCE = re.compile(r"^Source:\s*(.*?)(?=^\w[\w ]*:\s*$|\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)
_SMALL = {"a", "an", "and", "for", "from", "in", "of", "on", "the", "to", "with"}


class Reference(NamedTuple):
    """One published source of a method."""

    authors: str
    title: str
    year: str
    arxiv: str
    note: str

    def bibtex(self) -> str:
        """An entry of a BibTeX file."""
        first = re.sub(r"[^a-z]", "", self.authors.split(",")[0].split(" et al")[0].lower())
        words = [word for word in re.findall(r"[a-z]+", self.title.lower()) if word not in _SMALL]
        fields = {
            "author": " and ".join(map(_family, self.authors.split(", "))),
            "title": f"{{{self.title}}}",
            "year": self.year,
            "eprint": self.arxiv,
            "archivePrefix": "arXiv" if self.arxiv else "",
            "note": self.note,
        }
        return _entry(f"misc{{{first or 'anonymous'}{self.year}{words[0] if words else ''}", fields)


def citation(thing: Any = None) -> str:
    """The publications that describe a solver, a function or any other part, as BibTeX.

    They are read from "Source" in the documentation of this part, so that both always agree.

    Args:
        thing: A class, one of its values, or a function; None is the library itself.

    Returns:
        BibTeX entries, with an empty line between two of them.

    Raises:
        InputError: If the thing names no source.

    Example:
        >>> import monge
        >>> monge.citation(monge.solver.Sinkhorn()).splitlines()[0]
        '@misc{cuturi2013sinkhorn,'
    """
    if thing is None:
        developers, title = "{The Monge developers}", "{Monge: optimal transport for deep learning}"
        return _entry("software{monge", {"author": developers, "title": title, "version": __version__})
    found = _references(thing)
    if not found:
        name = getattr(thing, "__name__", type(thing).__name__)
        raise InputError(f"The documentation of {name} names no source: cite the library itself, with citation().")
    return "\n\n".join(reference.bibtex() for reference in found)


def _family(name: str) -> str:
    """A family name as BibTeX takes it: braces keep two words together."""
    name, others = name.removesuffix(" et al."), name.endswith(" et al.")
    return (f"{{{name}}}" if " " in name else name) + (" and others" if others else "")


def _entry(opening: str, fields: dict[str, str]) -> str:
    lines = [f"  {name:<13} = {{{content}}}," for name, content in fields.items() if content]
    return "\n".join([f"@{opening},", *lines, "}"])


def _references(thing: Any) -> list[Reference]:
    """What the documentation of a thing names, or else that of its bases."""
    described = thing if inspect.isclass(thing) or inspect.isroutine(thing) else type(thing)
    for holder in inspect.getmro(described) if inspect.isclass(described) else (described,):
        text = inspect.cleandoc(holder.__doc__ or "")
        named = [_reference(part) for block in _SOURCE.findall(text) for part in re.split(r";\s", block)]
        named = [reference for reference in named if reference is not None]
        if named:
            return named
    return []


def _reference(text: str) -> Reference | None:
    """Read from prose such as: Jonker, Volgenant, A shortest augmenting path algorithm (1987), chapter 2."""
    text = " ".join(text.split()).strip(" .")
    arxiv, year = _ARXIV.search(text), _YEAR.search(text)
    if arxiv is None and year is None:
        return None
    end = min(match.start() for match in (arxiv, year) if match is not None)
    last = max(match.end() for match in (arxiv, year) if match is not None)
    head, note = text[:end].strip(' ,(;"“”'), text[last:].strip(" ,().")
    quoted = re.search(r'"(.+)"?$', text[:end].strip(" ,("))
    if quoted:
        title = quoted[1].strip(' ",')
        authors = text[: quoted.start()].strip(" ,")
    else:
        parts = head.split(", ")
        count = 0
        while count < len(parts) - 1 and _is_name(parts[count]):
            count += 1
        authors, title = ", ".join(parts[:count]), ", ".join(parts[count:])
    code = arxiv[1] if arxiv else ""
    return Reference(authors, title, year[1] if year else _arxiv_year(code), code, note)


def _is_name(part: str) -> bool:
    """Whether a part between commas is an author rather than the beginning of a title."""
    words = part.replace(" et al.", "").split()
    return len(words) <= 2 and all(word[0].isupper() for word in words)


def _arxiv_year(code: str) -> str:
    digits = code.split("/")[-1][:2]
    return f"{19 if int(digits) > 90 else 20}{digits}"

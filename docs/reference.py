"""What API pages have beside the docstrings: a table of everything at the top, and the examples that use a thing."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from functools import cache
from pathlib import Path, PurePosixPath

KINDS = {"Classes": inspect.isclass, "Functions": inspect.isroutine}
# Where sphinx-gallery keeps which example uses what, relative to this folder.
BACKREFERENCES = "generated/backreferences"
# The first sentence ends at a full stop before a space, not at that of "e.g." or of a number.
SENTENCE = re.compile(r"(?<!e\.g)(?<!i\.e)\.(?=\s|$)")
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"\$([^$\n]+?)\$")
# What must stay as it is: literals, roles, links, and mathematics.
FIXED = re.compile(r"(``.+?``|:\w+:`[^`]+`|`[^`]+`)")


def sentence(thing: object) -> str:
    """The first sentence of a docstring, on one line."""
    told = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    first = SENTENCE.split(told, maxsplit=1)[0]
    return first if first.endswith(("?", "!")) or not first else f"{first}."


def table(names: dict[str, str], heading: str) -> list[str]:
    """A row for each full name: a link to it, and its first sentence."""
    lines = ["", f".. list-table:: {heading}", "   :class: summary", "   :widths: 30 70", ""]
    for full, told in names.items():
        lines += [f"   * - :py:obj:`~{full}`", f"     - {told}"]
    return [*lines, ""]


def members(module, taken: set[str] | None, left_out: set[str]) -> dict[str, object]:
    """What a page shows of a module, in the order of the alphabet."""
    names = sorted(name for name in getattr(module, "__all__", vars(module)) if not name.startswith("_"))
    if taken is not None:
        names = [name for name in names if name in taken]
    found = {name: getattr(module, name) for name in names if name not in left_out}
    return {name: thing for name, thing in found.items() if inspect.getdoc(thing)}


def summary(app, what: str, name: str, module: object, options, lines: list[str]) -> None:
    """The docstring of a module gets a table of its classes and one of its functions."""
    if what != "module" or not options.get("members"):
        return
    asked = options.get("members")
    taken = set(asked) if isinstance(asked, (list, tuple, set)) else None
    shown = members(module, taken, set(options.get("exclude_members") or ()))
    for heading, fits in KINDS.items():
        rows = {f"{name}.{own}": sentence(thing) for own, thing in shown.items() if fits(thing)}
        if rows:
            lines += table(rows, heading)


@cache
def uses(source: str) -> dict[int, dict[str, str]]:
    """Which pages of the galleries use an object, by the identity of the object: page and title."""
    kept = Path(source) / BACKREFERENCES / "backreferences_all.json"
    found: dict[int, dict[str, str]] = {}
    for full, examples in json.loads(kept.read_text()).items() if kept.exists() else ():
        room, _, own = full.rpartition(".")
        try:
            thing = getattr(importlib.import_module(room), own)
        except (ImportError, AttributeError):  # a method, or a name that only an example has
            continue
        for script, _, folder, _, title in examples:
            page = PurePosixPath("/", Path(folder).relative_to(source).as_posix(), Path(script).stem)
            found.setdefault(id(thing), {})[str(page)] = title
    return found


def examples(app, what: str, name: str, thing: object, options, lines: list[str]) -> None:
    """A class or function gets links to the examples that use it."""
    if what not in ("class", "function", "exception"):
        return
    pages = uses(str(app.srcdir)).get(id(thing), {})
    if pages:
        links = " · ".join(f":doc:`{title} <{page}>`" for page, title in sorted(pages.items()))
        lines += ["", ".. container:: used-in", "", f"   Examples that use it: {links}", ""]


def markup(lines: list[str]) -> list[str]:
    """Docstrings are written as the pages are: dollar signs are mathematics, stars and bars are just themselves."""

    def display(match: re.Match[str]) -> str:
        body = " ".join(line.strip() for line in match[1].strip().splitlines())
        return f"\n\n.. math:: {body}\n\n"

    text = INLINE.sub(r":math:`\1`", DISPLAY.sub(display, "\n".join(lines)))
    example, fresh, source = False, [], None
    for line in text.splitlines():
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        # The second line of a source is indented for the eye, and belongs to the first.
        if line.lstrip().startswith("Source:"):
            source = line[: -len(line.lstrip())]
        elif source is not None:
            line, source = (source + line.lstrip(), source) if line.strip() else (line, None)
        fresh.append(line if example or ".. math::" in line else plain(line))
    return fresh


def plain(line: str) -> str:
    """Escape what reStructuredText would take for markup: ``(*b, n)``, ``|x - y|``."""
    parts = FIXED.split(line)
    parts[::2] = [re.sub(r"(?<!\*)\*(?=\w)(?!\w[^*]*\w\*)|\|", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def docstrings(app, what, name, thing, options, lines: list[str]) -> None:
    lines[:] = markup(lines)


def setup(app):
    app.connect("autodoc-process-docstring", summary, priority=600)
    app.connect("autodoc-process-docstring", examples, priority=600)
    app.connect("autodoc-process-docstring", docstrings, priority=700)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""One word, one meaning: the glossary of the docs says which words there are, and the sources keep to it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import monge

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "monge"
GUEST = ROOT / "papers" / "src" / "monge_papers"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *GUEST.rglob("*.py")])
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "papers/README.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page != GLOSSARY),
    *sorted((ROOT / "examples").glob("*.py")),
    *sorted((ROOT / "recipes").glob("*.py")),
    *sorted((ROOT / "papers" / "examples").glob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]

# What is not enforced yet, as "word in room" or "name in faces". An entry that nothing breaks any more must go.
NOT_YET: set[str] = {
    # Straight lines have slopes there, and saved parameters bear the name.
    "slope in nn",
}

# A file is named for what it gives: not for when it runs, for where it stands, or for everything at once.
VAGUE = {"answer", "bridge", "climb", "common", "conclude", "helpers", "iterate", "middle", "misc", "twice", "utils"}

# Lines where a word that is ruled out may stand, and why.
EXCUSED = {
    re.compile(r"\.update\("): "the method of dictionaries",
}

# Public names that two faces define, each with its own meaning or its own layer, and why that is right.
TWICE = {
    "Linear": "the problem, and the short name by which `monge.sliced.LinearSlicer` has always been known",
    "Sinkhorn": "the coupler of an attention layer is named after the solver whose iterations it runs",
    "partial_cost": "the loop on sorted numbers, and the problem between points that runs it",
    "partial_plan": "the loop on sorted numbers, and the problem between points that runs it",
    "partial_profile": "the loop on sorted numbers, and the problem between points that runs it",
}


# ---------------------------------------------------------------------- what the glossary says


@dataclass(frozen=True)
class Entry:
    """A word of the glossary, and what it rules out."""

    word: str
    never: tuple[str, ...]
    not_in_names: tuple[str, ...]
    only: tuple[str, ...]


def read(text: str) -> list[Entry]:
    """The entries of a page of definitions."""
    entries = []
    for match in re.finditer(r"^(\w[^\n]*)\n: (.+?)(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE):
        told = " ".join(match[2].split())
        lists = {
            kind: tuple(re.findall(r"`([^`]+)`", found[1]))
            if (found := re.search(rf"{kind}: ([^.]+(?:\.\w[^.]*)*)\.", told))
            else ()
            for kind in ("Never", "Not in names", "Only")
        }
        entries.append(Entry(match[1], lists["Never"], lists["Not in names"], lists["Only"]))
    return entries


ENTRIES = read(GLOSSARY.read_text())
NEVER = {word: entry for entry in ENTRIES for word in entry.never}
NOT_IN_NAMES = {word: entry for entry in ENTRIES for word in entry.not_in_names}
ONLY = {entry.word: entry for entry in ENTRIES if entry.only}


# ---------------------------------------------------------------------- what the sources say


def room_of(path: Path) -> str:
    if path.is_relative_to(GUEST):
        return "monge_papers"
    first = path.relative_to(PACKAGE).parts[0]
    return first if (PACKAGE / first).is_dir() else "the foundation"


def pattern(word: str) -> re.Pattern[str]:
    """A word or its plural, in a sentence or as a part of a name such as ``a_word``, ``WORD`` or ``AWord``."""
    one = r"[\s_-]+".join(map(re.escape, word.split()))
    capital = one[0].upper() + one[1:]
    return re.compile(
        rf"(?<![A-Za-z])(?:{one}|{one.upper()}|{capital})(?:s|S)?(?![A-Za-z])|(?<=[a-z]){capital}s?(?![a-z])"
    )


def stands(word: str, text: str) -> list[int]:
    """The lines where a word stands."""
    seek = pattern(word)
    lines = enumerate(text.splitlines(), 1)
    return [n for n, line in lines if seek.search(line) and not any(excuse.search(line) for excuse in EXCUSED)]


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and names of the classes, functions, arguments and fields that a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        if isinstance(node, ast.ClassDef):
            fields = (inner.target for inner in node.body if isinstance(inner, ast.AnnAssign))
            yield from ((field.lineno, field.id) for field in fields if isinstance(field, ast.Name))


def routines(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and qualified names of classes and functions, without those inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.ClassDef):
            yield node.lineno, node.name
            yield from ((line, f"{node.name}.{name}") for line, name in routines(node))


def bad_words(text: str) -> Iterator[tuple[str, int, str]]:
    """Words that may stand nowhere: word, line, and what to say instead."""
    for word, entry in NEVER.items():
        yield from ((word, line, f"say {entry.word}") for line in stands(word, text))


def bad_names(text: str, file: str) -> Iterator[tuple[str, int, str]]:
    """Names that the glossary rules out: word, line, and the name."""
    tree = ast.parse(text)
    for line, name in [(1, file), *names(tree)]:
        for word, entry in NOT_IN_NAMES.items():
            if pattern(word).search(name):
                yield word, line, f"{name}: {entry.word} is what it is called"
    for line, name in routines(tree):
        for word, entry in ONLY.items():
            if name.split(".")[-1] == word and name not in entry.only:
                yield word, line, f"{name}: {word} is the name of {', '.join(entry.only)}"


@cache
def faults() -> dict[str, list[str]]:
    """Everything that the glossary rules out, by "word in room"."""
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        text, place = path.read_text(), path.relative_to(ROOT)
        if path.stem.lstrip("_") in VAGUE:
            found.setdefault(f"{path.stem.lstrip('_')} in {room_of(path)}", []).append(f"{place}: name what it gives")
        for word, line, told in (*bad_words(text), *bad_names(text, path.stem)):
            found.setdefault(f"{word} in {room_of(path)}", []).append(f"{place}:{line}: {told}")
    for page in PAGES:
        for word, line, told in bad_words(page.read_text()):
            found.setdefault(f"{word} in docs", []).append(f"{page.relative_to(ROOT)}:{line}: {told}")
    return found


@cache
def faces() -> dict[str, dict[str, str]]:
    """Public classes and functions by name: where each is defined, and a face that shows it."""
    shown: dict[str, dict[str, str]] = {}
    for info in pkgutil.walk_packages(monge.__path__, "monge."):
        # The commands are functions too, but no objects that people import.
        if not info.ispkg or "._" in info.name or info.name == "monge.cli":
            continue
        room = importlib.import_module(info.name)
        for name in getattr(room, "__all__", ()):
            thing = inspect.unwrap(getattr(room, name))
            if inspect.isclass(thing) or inspect.isroutine(thing):
                shown.setdefault(name, {})[f"{thing.__module__}.{thing.__qualname__}"] = info.name
    return shown


# ---------------------------------------------------------------------- the tests

WORDS = sorted({*NEVER, *NOT_IN_NAMES, *ONLY, *VAGUE})


@pytest.mark.parametrize("word", WORDS)
def test_words_keep_to_the_glossary(word: str) -> None:
    found = {key: told for key, told in faults().items() if key.startswith(f"{word} in ") and key not in NOT_YET}
    assert not found, "\n".join(line for told in found.values() for line in told)


def doubles() -> dict[str, list[str]]:
    """Public names of several meanings, and where they are defined."""
    return {name: sorted(where) for name, where in faces().items() if len(where) > 1}


def test_a_public_name_has_one_meaning() -> None:
    excused = {*TWICE, *(entry.removesuffix(" in faces") for entry in NOT_YET)}
    wrong = {name: where for name, where in doubles().items() if name not in excused}
    assert not wrong, f"two things of one name; rename one, or give a reason in TWICE: {wrong}"


def test_no_excuse_is_left_over() -> None:
    done = NOT_YET - faults().keys() - {f"{name} in faces" for name in doubles()}
    assert not done, f"these are mended: take them out of NOT_YET: {sorted(done)}"
    assert not TWICE.keys() - doubles().keys()


def test_couplers_are_registered_under_clean_names() -> None:
    for name in monge.nn.couplers.names():
        assert not [word for word in (*NEVER, *NOT_IN_NAMES) if pattern(word).search(name)]


def test_the_glossary_is_sound() -> None:
    assert len(ENTRIES) == len({entry.word for entry in ENTRIES}) > 30
    ruled_out = {*NEVER, *NOT_IN_NAMES}
    assert not ruled_out & {entry.word for entry in ENTRIES}
    sentences = [line for line in GLOSSARY.read_text().splitlines() if line.startswith((": ", "  "))]
    told = " ".join(re.sub(r"(?:Never|Not in names|Only): .*", "", line) for line in sentences)
    assert not [word for word in NEVER if pattern(word).search(told)]


def test_the_words_can_be_found() -> None:
    for text in ("a slope", "Slopes,", "mix_slope", "_slopes", "SLOPE", "NewtonSlope"):
        assert stands("slope", text), text
    for text in ("sloped", "telescope", "xslope"):
        assert not stands("slope", text), text
    assert stands("ground cost", "the ground\tcost")
    assert stands("ground cost", "ground_cost")
    assert stands("update", "an update")
    assert not stands("update", "held.update(found)")
    found = {
        word for word, *_ in bad_names("def f(keep_q): ...\nclass A:\n    reg: float\n    def resolve(self): ...", "x")
    }
    assert found == {"keep", "reg", "resolve"}
    assert not list(bad_names("def f(x):\n    keep = x\nclass Coupling:\n    def pair(self): ...", "keeper"))
    assert [word for word, *_ in bad_names("", "pairs_to_keep")] == ["keep"]


def test_the_page_can_be_read() -> None:
    text = "word\n: A sentence.\n  Never: `a`,\n  `b c`. Not in names: `d`.\n  Only: `A.x`, `B.x`.\n\nother\n: No.\n"
    assert read(text) == [Entry("word", ("a", "b c"), ("d",), ("A.x", "B.x")), Entry("other", (), (), ())]

"""Code that people will copy runs: every docstring example of both packages, every Python block of README and docs."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import monge

ROOT = Path(__file__).parents[1]
PACKAGES = {"monge": ROOT / "src", "monge_papers": ROOT / "papers" / "src"}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Rooms whose examples need a package that is not always there.
NEEDS = {"adapt": "sklearn", "plot": "matplotlib"}
OPTIONAL = re.compile(r"^(?:import|from) .*?\b(ot|ott|geomloss|torchcfm|sklearn|matplotlib)\b", re.MULTILINE)


def docstrings(path: Path) -> Iterator[tuple[str, str, int]]:
    """Name, text and line of every docstring with an example. Parsed, since run-time checks wrap the functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node)
            if text and ">>>" in text:
                yield getattr(node, "name", path.stem), text, getattr(node, "lineno", 1)


EXAMPLES = [
    pytest.param(source, path, id=str(path.relative_to(source)))
    for package, source in PACKAGES.items()
    for path in sorted((source / package).rglob("*.py"))
    if any(docstrings(path))
]
PAGES = [ROOT / "README.md", ROOT / "papers" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What examples register is forgotten after them."""
    pytest.importorskip("monge.cli.app")  # registers its commands, which are no example
    registries = pytest.importorskip("monge.cli.registries").REGISTRIES
    for registry in registries.values():
        for state in ("_held", "_sentences"):
            monkeypatch.setattr(registry, state, dict(getattr(registry, state)))


@pytest.mark.parametrize(("source", "path"), EXAMPLES)
def test_docstring_examples(source: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package, *parts = path.relative_to(source).with_suffix("").parts
    name = ".".join((package, *(part for part in parts if part != "__init__")))
    if parts[0] in NEEDS:
        pytest.importorskip(NEEDS[parts[0]])
    # An example may use the names of its room besides those of its file.
    names = {**vars(importlib.import_module(f"{package}.{parts[0]}"))} if len(parts) > 1 else {}
    names |= {"monge": monge, "torch": torch} | vars(importlib.import_module(name))
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for title, text, line in docstrings(path):
        example = doctest.DocTestParser().get_doctest(text, dict(names), title, str(path), line)
        told: list[str] = []
        runner.run(example, out=told.append)
        assert not told, "".join(told)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of one page share one namespace and run in order; those with prompts must print what they show."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    for match in BLOCK.finditer(page.read_text()):
        block, line = match[1], page.read_text()[: match.start()].count("\n") + 2
        for package in re.findall(
            r"^(?:import|from) (ot|geomloss|ott|torchcfm|sklearn|matplotlib)\b", block, re.MULTILINE
        ):
            pytest.importorskip(package)
        if ">>>" in block:
            example = doctest.DocTestParser().get_doctest(block, namespace, page.name, str(page), line)
            told: list[str] = []
            doctest.DocTestRunner(optionflags=FLAGS).run(example, out=told.append, clear_globs=False)
            namespace |= example.globs
            assert not told, "".join(told)
        else:
            exec(compile("\n" * (line - 1) + block, str(page), "exec", dont_inherit=True), namespace)

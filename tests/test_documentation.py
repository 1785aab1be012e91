"""Code that people will copy runs: every docstring example of both packages, every Python block of README and docs."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
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
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"\$([^$\n]+?)\$")
FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
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


def resolved(name: str) -> bool:
    """Whether a name with dots is a thing of the library."""
    thing: object = importlib.import_module(name.split(".")[0])
    for length, part in enumerate(name.split(".")[1:], start=2):
        if not hasattr(thing, part) and importlib.util.find_spec(".".join(name.split(".")[:length])):
            importlib.import_module(".".join(name.split(".")[:length]))
        if not hasattr(thing, part):
            return part in getattr(thing, "__dataclass_fields__", {})
        thing = getattr(thing, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_in_sentences(page: Path) -> None:
    """What a sentence calls ``monge.something`` is there; the groups of entry points are called so too."""
    registries = pytest.importorskip("monge.cli.registries").REGISTRIES
    groups = {registry.group for registry in registries.values()} | {"monge.papers", "monge.commands"}
    names = set(re.findall(r"`(monge(?:_papers)?(?:\.\w+)+)", FENCED.sub("", page.read_text())))
    missing = {name for name in names - groups if name.split(".")[1] not in NEEDS and not resolved(name)}
    assert not missing


def shell_lines(text: str) -> Iterator[list[str]]:
    """The words of every command of the shell that a page shows, without what is said about it."""
    for block in re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            yield from (part.split() for part in re.sub(r"(^|\s)#.*", "", line).split("|"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_shell(page: Path) -> None:
    """Every ``monge ...`` that a page shows is a command with these options, and every ``make ...`` is a target."""
    typer = pytest.importorskip("typer")
    known = typer.main.get_command(pytest.importorskip("monge.cli.app").app()).commands
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    for words in shell_lines(text):
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, f"{page.name}: {words}"
        if words[:1] == ["monge"] or words[:1] == ["torchrun"]:
            name, *rest = words[words.index("monge") + 1 :]
            assert name in known, f"{page.name}: there is no command {name!r}"
            assert_options(known[name], [word for word in rest if word.startswith("--")], page.name)
    # The tables of options stand below the title of their command.
    for name, below in re.findall(r"^## `monge (\w+)`$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE):
        cells = re.findall(r"^\| (`--.*?) \|", below, re.MULTILINE)
        assert_options(known[name], re.findall(r"`(--[a-z-]+)", " ".join(cells)), f"{page.name}, monge {name}")


def assert_options(command, options: list[str], where: str) -> None:
    """A command knows these options."""
    held = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for option in options:
        assert option.split("=")[0] in held, f"{where}: {option}"


def test_home(capsys: pytest.CaptureFixture[str]) -> None:
    """README and the first page of the guide begin with the same lines, which print what is shown below them."""
    first = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    shown = [first.search((ROOT / page).read_text()) for page in ("README.md", "docs/index.md")]
    (code, printed), again = (match.groups() for match in shown if match)
    assert (code, printed) == again
    exec(code, {})
    assert capsys.readouterr().out == printed


def machinery(name: str, monkeypatch: pytest.MonkeyPatch):
    """A module that builds the pages; it needs the packages of the extra ``docs``."""
    pytest.importorskip("sphinx")
    pytest.importorskip("math_core")
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module(name)


def formulas(text: str) -> Iterator[tuple[str, bool]]:
    """Every formula of a page or docstring, and whether it stands on a line of its own."""
    yield from ((" ".join(body.split()), True) for body in DISPLAY.findall(text))
    yield from ((body, False) for body in INLINE.findall(DISPLAY.sub("", text)))


def test_formulas_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mathematics of every page and docstring is translated, since browsers are not asked to do it."""
    mathml = machinery("mathematics", monkeypatch).mathml
    texts = {path: FENCED.sub("", path.read_text()) for path in (ROOT / "docs").rglob("*.md")}
    for source in PACKAGES.values():
        for path in source.rglob("*.py"):
            nodes = (node for node in ast.walk(ast.parse(path.read_text())))
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
            texts[path] = "\n\n".join(ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds))
    seen = 0
    for path, text in texts.items():
        for latex, block in formulas(text):
            assert "<math" in mathml(latex, block=block), f"{path}: {latex}"
            seen += 1
    assert seen > 400


def test_a_formula_that_nobody_can_read_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    mathematics = machinery("mathematics", monkeypatch)
    assert "<mfrac>" in mathematics.mathml(r"\frac12", block=False)
    with pytest.raises(mathematics.LatexError):
        mathematics.mathml(r"\frac{1", block=True)


@pytest.mark.parametrize(
    ("name", "text", "loads"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ("a.html", '<link rel="stylesheet" href="//example/x.css">', ["//example/x.css"]),
        ("a.html", "<img alt='' src='http://example/x.png'>", ["http://example/x.png"]),
        ("a.html", "<style>@import 'https://example/x.css';</style>", ["https://example/x.css"]),
        ("a.html", '<p style="background: url(https://example/x.png)">', ["https://example/x.png"]),
        ("a.html", '<script>import("https://example/x.js")</script>', ["https://example/x.js"]),
        ("a.css", "src: url('https://example/font.woff2')", ["https://example/font.woff2"]),
        ("a.js", "script.src = 'https://example/x.js'", ["https://example/x.js"]),
        ("a.html", '<a href="https://arxiv.org">paper</a><script src="_static/x.js"></script>', []),
        ("a.html", '<link rel="canonical" href="https://example/">', []),
        ("a.html", "<pre>@import 'https://example/x.css'</pre>", []),
        ("a.css", "src: url(fonts/x.woff2)", []),
    ],
)
def test_what_a_page_loads(
    name: str, text: str, loads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build refuses what comes from the network; links that people follow are none of its business."""
    offline = machinery("offline", monkeypatch)
    page = tmp_path / name
    page.write_text(text)
    assert offline.fetched(page) == loads


def test_tables_of_api_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of a page names what the page shows, each with its first sentence."""
    reference = machinery("reference", monkeypatch)
    lines: list[str] = []
    reference.summary(None, "module", "monge.geometry", monge.geometry, {"members": ["Line", "cost_between"]}, lines)
    table = "\n".join(lines)
    assert table.index("Classes") < table.index("~monge.geometry.Line`") < table.index("~monge.geometry.cost_between`")
    assert "PointCloud`" not in table.replace("`PointCloud`", "")
    assert reference.sentence(monge.geometry.Line) in table
    assert reference.markup([r"The cost $C_{ij}$ of (*b, n) and |x|."]) == [
        r"The cost :math:`C_{ij}` of (\*b, n) and \|x\|."
    ]
    source = ["Text.", "", "Source: An author,", "    a title.", "", "    Code."]
    assert reference.markup(source) == [*source[:3], "a title.", *source[4:]]

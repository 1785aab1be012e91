"""Rows and commands, from this distribution and from strangers; every example is run, and fails where it must."""

from __future__ import annotations

import importlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from copy import copy
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from monge.api import citation
from monge.errors import ExtensionWarning, InputError
from monge.nn.couplers import COUPLERS
from monge.papers import CATALOGUE, PAPERS, SHELVES, Paper, catalogued, papers

pytest.importorskip("typer")

from monge.cli import main
from monge.cli.app import COMMANDS
from monge.cli.cite import cited

ROOT = Path(__file__).parents[2]

POINTS = "[monge.papers]\nroom = stranger:ROWS\n"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return left.value.code or 0


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a distribution whose only module has the given text, with entry points as they stand in a file."""
    monkeypatch.syspath_prepend(tmp_path)
    real = {registry: {point.name for point in entry_points(group=registry.group)} for registry in (SHELVES, COMMANDS)}
    for registry in real:
        for state in ("_held", "_sentences", "_faults", "_told"):
            monkeypatch.setattr(registry, state, copy(getattr(registry, state)))
        monkeypatch.setattr(registry, "_waiting", None)

    def look_again() -> None:
        """A program that runs does not look for new packages by itself."""
        for registry, names in real.items():
            registry._waiting = None
            for name in names:
                registry._held.pop(name, None)

    look_again()

    def install(text: str, points: str, name: str = "stranger") -> None:
        (tmp_path / f"{name}.py").write_text(text)
        information = tmp_path / f"{name}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(points)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        look_again()

    return install


# ---------------------------------------------------------------------- our rows

METHODS = pytest.mark.parametrize(
    "paper", [paper for paper in papers() if paper.kind == "method"], ids=lambda paper: paper.key
)


@METHODS
def test_every_example_holds(
    paper: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(paper.script), run_name="__main__")
    told = capsys.readouterr().out
    assert told.strip()
    assert "nan" not in told
    text = paper.script.read_text()
    assert "assert" in text
    assert len(text.splitlines()) <= 80, "an example is read as a recipe"
    assert not list(tmp_path.iterdir())


def test_examples_hold_in_an_installed_wheel(tmp_path: Path) -> None:
    """Neither the repository nor the installation that is tested is seen, but for the compiled kernels."""
    for package in ("pip", "scikit_build_core", "monge.kernels._native"):
        pytest.importorskip(package)
    make = "-m pip wheel --quiet --no-deps --no-build-isolation -C wheel.cmake=false -C wheel.py-api=py3 -w"
    subprocess.run([sys.executable, *make.split(), tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path)
    shutil.copy(sys.modules["monge.kernels._native"].__file__, tmp_path / "monge" / "kernels")
    paths = dict.fromkeys([str(tmp_path), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    check = "import monge; from monge.cli import main; print(monge.__file__); main(['papers', '--check'])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", check],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(str(tmp_path))
    ours = sum(paper.kind == "method" for paper in PAPERS)
    assert f"{ours} of {ours} examples hold." in done.stdout


@METHODS
def test_no_example_holds_without_what_implements_the_paper(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise RuntimeError("missing")

    monkeypatch.setattr(importlib.import_module(paper.module), paper.implements.rpartition(".")[2], missing)
    with pytest.raises(RuntimeError, match=r"^missing$"):
        runpy.run_path(str(paper.script), run_name="__main__")


def test_no_test_holds_without_what_implements_the_paper(tmp_path: Path) -> None:
    for package in ("ot", "scipy"):
        pytest.importorskip(package)
    script, told = Path(__file__).with_name("sabotaged.py"), tmp_path / "ends.json"
    done = subprocess.run([sys.executable, script, told], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ends = json.loads(told.read_text())
    assert ends == {paper.key: ["failed without it"] for paper in papers() if paper.kind == "method"}, done.stdout


def test_rows_come_from_the_catalogue() -> None:
    rows = papers()
    assert [paper.arxiv for paper in rows] == sorted(paper.arxiv for paper in rows)
    assert len({paper.key for paper in rows}) == len({paper.arxiv for paper in rows}) == len(rows) >= len(PAPERS)
    assert {"lotformer", "espformer", "sopt", "lcot"} <= {paper.key for paper in PAPERS}
    for paper in rows:
        assert CATALOGUE[paper.key] == {name: getattr(paper, name) for name in ("key", "title", "arxiv", "group")}
    assert len(CATALOGUE) == len({row["arxiv"] for row in CATALOGUE.values()})
    with pytest.raises(InputError, match="key='ours' is unknown"):
        catalogued("ours", implements="ours.method", example="ours.example", test="tests/test_ours.py")


def test_a_survey_is_a_page_that_is_executed() -> None:
    (survey,) = (paper for paper in papers() if paper.kind == "page")
    page = (ROOT / survey.implements).read_text()
    assert survey.arxiv in page
    assert survey.title in " ".join(page.split())
    assert re.search(r"^```python\n.*^assert ", page, re.MULTILINE | re.DOTALL)
    assert survey.test == f"tests/test_documentation.py::test_pages[{survey.example}]"


@METHODS
def test_what_implements_a_paper_names_it_with_its_authors(paper: Paper) -> None:
    told = cited(paper)
    assert re.search(r"author +=", told)
    assert f"{{{paper.arxiv}}}" in told
    title = re.search(r"title +?= {{(.*)}}", told)
    assert title is not None
    assert title[1].lower() == paper.title.lower()


ROW = {
    "key": "ours",
    "title": "A paper of ours",
    "arxiv": "1901.00001",
    "group": "tail",
    "implements": "stranger.room",
    "example": "sums.wrong",
    "test": "tests/test_ours.py",
}


def text(*keys: str) -> str:
    """A module with a row for every key, and what implements them."""
    rows = f"[Paper(**{ROW} | {{'key': key}}) for key in {keys or ('ours',)}]"
    return f"from monge.papers import Paper\ndef room(): 'Solves it.'\nROWS = {rows}\n"


@pytest.mark.parametrize("arxiv", ["", "2304", "arXiv 2304.07288", "2304.07288v2"])
def test_a_row_has_a_number(arxiv: str) -> None:
    with pytest.raises(InputError, match="arxiv"):
        Paper(**ROW | {"arxiv": arxiv})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"test": " "}, "test is empty"),
        ({"implements": "room"}, "implements of the paper 'ours' must be an import path"),
        ({"example": "python -m sums.wrong"}, "example of the paper 'ours' must be an import path"),
    ],
)
def test_a_row_is_whole(change: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Paper(**ROW | change)


def test_what_is_not_there_is_told() -> None:
    for implements in ("nowhere.room", "monge.nn.Nothing"):
        with pytest.raises(InputError, match=f"names {implements}, which cannot be imported"):
            _ = Paper(**ROW | {"implements": implements}).implementation
    for example in ("nowhere.example", "monge.papers.examples.nothing"):
        with pytest.raises(InputError, match=f"names the example {example}, which is not installed"):
            _ = Paper(**ROW | {"example": example}).script


# ---------------------------------------------------------------------- the command


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("papers") == 0
    *told, last = capsys.readouterr().out.strip("\n").split("\n\n")
    assert len(told) == len(papers())
    for paper, lines in zip(papers(), told, strict=True):
        for text in (paper.key, paper.title, paper.arxiv, paper.implements, paper.example):
            assert text in lines
    assert last.startswith(f"Of the {len(CATALOGUE)} papers of the catalogue, {len(papers())} are here.")


def test_one_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("papers", "lotformer") == 0
    told = capsys.readouterr().out
    (paper,) = (paper for paper in papers() if paper.key == "lotformer")
    assert paper.script.read_text() in told
    assert paper.test in told
    assert told.endswith(f"{cited(paper)}\n")
    assert "author        = {Shahbazi and Thrash" in told
    assert run("papers", "lotforme") == 2
    assert "KEY='lotforme' is unknown: choose one of" in capsys.readouterr().err


def test_the_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("papers", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert tuple(Paper(**row) for row in told) == papers()
    assert all(set(row) == set(ROW) for row in told)


def test_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("papers", "--group", "attention", "--json") == 0
    inside = [paper for paper in papers() if paper.group == "attention"]
    assert [Paper(**row) for row in json.loads(capsys.readouterr().out)] == inside
    assert 0 < len(inside) < len(papers())
    assert run("papers", "--group", "attenton") == 2
    assert "--group='attenton' is unknown: choose one of 'attention'" in capsys.readouterr().err
    assert run("papers", "lotformer", "--group", "slices") == 2
    assert "'lotformer' is not of the group 'slices'" in capsys.readouterr().err


def test_examples_are_checked(
    stranger: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("papers", "lcot", "--check") == 0
    assert capsys.readouterr().out.endswith("1 of 1 examples hold.\n")
    stranger(text(), POINTS)
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "__init__.py").write_text("")
    (tmp_path / "sums" / "wrong.py").write_text("assert 1 + 1 == 3, 'a sum'")
    assert run("papers", "ours", "--check") == 1
    assert "sums.wrong does not hold (AssertionError: a sum)" in capsys.readouterr().err


def test_papers_and_couplers_are_cited(capsys: pytest.CaptureFixture[str]) -> None:
    for name, number in (("lotformer", "2509.23436"), ("pivots", "2509.23436"), ("entropic-pivots", "2509.23436")):
        assert run("cite", name) == 0
        told = capsys.readouterr().out
        assert f"eprint        = {{{number}}}" in told
        assert "title         = {{LOTFormer: Doubly-stochastic linear attention" in told
        assert "year          = {2025}" in told
    assert run("cite", "cayley") == 2
    assert "names no source" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name, kind in COUPLERS.items() if "arXiv" in kind.promise.source])
def test_every_published_coupler_is_cited_as_it_promises(name: str) -> None:
    number = re.findall(r"\d{4}\.\d{5}", COUPLERS[name].promise.source)
    told = citation(COUPLERS[name])
    assert re.findall(r"eprint += {(.*)}", told)[: len(number)] == number
    assert "author " in told


# ---------------------------------------------------------------------- strangers


def test_a_stranger_adds_rows(stranger: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    before = papers()
    stranger(text(), POINTS)
    assert {paper.key for paper in papers()} - {paper.key for paper in before} == {"ours"}
    assert run("papers") == 0
    told = capsys.readouterr().out
    assert "ours  A paper of ours, arXiv 1901.00001" in told
    assert f"{len(CATALOGUE)} papers of the catalogue, {len(before)} are here." in told
    assert run("cite", "ours") == 0
    assert "title         = {{A paper of ours}}" in capsys.readouterr().out


@pytest.mark.parametrize("keys", [("ours", "ours"), ("ours", "lotformer")])
def test_bad_rows_are_refused(stranger: Callable[..., None], keys: tuple[str, str]) -> None:
    stranger(text(*keys), POINTS)
    with pytest.raises(InputError, match=f"share the key '{keys[1]}'"):
        papers()


def test_what_is_no_row_is_told_and_left_out(stranger: Callable[..., None]) -> None:
    before = papers()
    stranger("ROWS = ['ours']", POINTS)
    with pytest.warns(ExtensionWarning, match="stranger .* sequence of monge.papers.Paper, but holds 'ours'"):
        assert papers() == before


COMMAND = 'import typer\ndef greet(name: str) -> None:\n    """Say hello."""\n    typer.echo(f"hello {name}")\n'


def test_a_stranger_adds_a_command(stranger: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("hail", "world") == 2
    stranger(COMMAND, "[monge.commands]\nhail = stranger:greet\n")
    capsys.readouterr()
    assert run("hail", "world") == 0
    assert capsys.readouterr().out == "hello world\n"
    assert run("--help") == 0
    assert "Say hello." in capsys.readouterr().out


def test_a_command_of_ours_is_not_replaced(stranger: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    stranger(COMMAND, "[monge.commands]\ncite = stranger:greet\n")
    assert run("cite") == 0
    assert "declares a command 'cite', but there is one of this name already" in capsys.readouterr().err

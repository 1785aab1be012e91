"""Rows and commands, from this distribution and from strangers; every row's line is run."""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from collections.abc import Callable
from copy import copy
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from monge.errors import ExtensionWarning, InputError
from monge.papers import PAPERS, SHELVES, Paper, papers

pytest.importorskip("typer")

from monge.cli import main
from monge.cli.app import COMMANDS

ROW = 'Paper("ours", "A paper of ours", "1901.00001", "stranger.room", "python -c pass")'


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


@pytest.mark.parametrize("paper", papers(), ids=lambda paper: paper.key)
def test_every_line_runs(
    paper: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines are Python for the shell or a command of ours: both are run here, without a process of their own."""
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(paper.line)
    if program == "monge":
        assert run(*arguments) == 0
    else:
        option, code = arguments
        assert (program, option) == ("python", "-c")
        exec(compile(code, paper.key, "exec"), {"__name__": "__main__"})
    told = capsys.readouterr().out
    assert told.strip()
    assert "nan" not in told
    assert importlib.import_module(paper.where)


def test_rows_are_in_order_and_name_what_their_line_uses() -> None:
    rows = papers()
    assert [paper.arxiv for paper in rows] == sorted(paper.arxiv for paper in rows)
    assert len({paper.key for paper in rows}) == len({paper.arxiv for paper in rows}) == len(rows) >= len(PAPERS)
    assert {"lotformer", "espformer", "sopt", "lcot"} <= {paper.key for paper in PAPERS}


@pytest.mark.parametrize("arxiv", ["", "2304", "arXiv 2304.07288", "2304.07288v2"])
def test_a_row_has_a_number(arxiv: str) -> None:
    with pytest.raises(InputError, match="arxiv"):
        Paper("key", "A title", arxiv, "somewhere", "python -c pass")


def test_a_row_is_whole() -> None:
    with pytest.raises(InputError, match="line is empty"):
        Paper("key", "A title", "2304.07288", "somewhere", " ")


# ---------------------------------------------------------------------- the command


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("papers") == 0
    told = capsys.readouterr().out
    for number, paper in enumerate(papers(), 1):
        head, where, line = told.split("\n\n")[number - 1].strip("\n").splitlines()
        assert head.split(None, 2) == [str(number), paper.arxiv, paper.title]
        assert (where.strip(), line.strip()) == (paper.where, paper.line)


def test_a_part_of_the_list_keeps_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("papers", "--where", "monge.sliced", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    inside = {number: paper for number, paper in enumerate(papers(), 1) if paper.where.startswith("monge.sliced")}
    assert {row.pop("number"): Paper(**row) for row in told} == inside
    assert 0 < len(inside) < len(papers())


def test_a_module_without_papers(capsys: pytest.CaptureFixture[str]) -> None:
    for where in ("monge.slice", "monge.sliced.plan.lift", "elsewhere"):
        assert run("papers", "--where", where) == 2
        assert "choose one of monge.nn" in capsys.readouterr().err


# ---------------------------------------------------------------------- strangers


def test_a_stranger_adds_rows(stranger: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    before = papers()
    stranger(f"from monge.papers import Paper\nROWS = [{ROW}]", "[monge.papers]\nroom = stranger:ROWS\n")
    assert {paper.key for paper in papers()} - {paper.key for paper in before} == {"ours"}
    assert run("papers", "--where", "stranger") == 0
    assert "A paper of ours" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (f"[{ROW}, {ROW}]", "share the key 'ours'"),
        (f"[{ROW.replace('ours', 'lotformer', 1)}]", "share the key 'lotformer'"),
    ],
)
def test_bad_rows_are_refused(stranger: Callable[..., None], rows: str, told: str) -> None:
    stranger(f"from monge.papers import Paper\nROWS = {rows}", "[monge.papers]\nroom = stranger:ROWS\n")
    with pytest.raises(InputError, match=told):
        papers()


def test_what_is_no_row_is_told_and_left_out(stranger: Callable[..., None]) -> None:
    before = papers()
    stranger("ROWS = ['ours']", "[monge.papers]\nroom = stranger:ROWS\n")
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

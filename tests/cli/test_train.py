"""``monge train``: one table, a report, grids that go on, and sentences for what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("typer")

from monge.cli import main
from monge.data import Split, Task
from monge.sequences import RECIPES, ModelConfig

TABLE = ("coupler", "accuracy", "step", "memory", "row error", "column error")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["train", *arguments])
    return left.value.code or 0


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A grid of two steps, with a few short sequences in the place of the digits."""
    part = Split(torch.randint(17, (12, 9)), torch.randint(10, (12,)))
    task = Task("digits", part, part, part, vocabulary=17, classes=10)
    small = ModelConfig(dim=8, layers=1, hidden=8, head=8)
    monkeypatch.setitem(RECIPES._held, "digits", replace(RECIPES["digits"], make=lambda: task, model=small))
    return ["digits", "--steps", "2", "--batch", "4", "--out", str(tmp_path / "out"), "--device", "cpu"]


def test_a_grid_and_its_report(few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = pytest.importorskip("matplotlib") is not None
    assert run(*few, "--coupler", "softmax,pivots:pivots=4", "--seeds", "2") == 0
    told = capsys.readouterr().out
    for word in (*TABLE, "softmax", "pivots:pivots=4", "±", "most frequent class", "report.html"):
        assert word in told
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert [(held["coupler"], held["seed"]) for held in results] == [
        ("softmax", 0), ("pivots:pivots=4", 0), ("softmax", 1), ("pivots:pivots=4", 1),
    ]  # fmt: skip
    assert results[1]["column_error"] < 1e-5 < results[0]["column_error"]
    markdown, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    assert "| pivots:pivots=4 |" in markdown
    assert "<td>pivots:pivots=4</td>" in page
    if drawn:
        assert page.count("data:image/png;base64,") == 2
        assert (out / "curves.png").exists()
    # Nothing has to be fetched to read it.
    assert "http" not in page

    # A grid goes on: what is finished is read, what is missing is done, what was begun is ended.
    kept = {path: path.read_bytes() for path in out.rglob("checkpoint.pt")}
    assert run(*few, "--coupler", "softmax,pivots:pivots=4") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert run(*few, "--coupler", "softmax,linear,pivots:pivots=4", "--seeds", "2", "--resume") == 0
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(json.loads((out / "results.json").read_text())) == 6


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["digit"], "recipe='digit' is unknown: choose one of 'digits', 'listops'"),
        (["digits", "--coupler", "sofmax"], "coupler='sofmax' is unknown: choose one of 'softmax'"),
        (["digits", "--coupler", "pivots:width=3"], "cannot be built"),
        (["digits", "--device", "tpu"], "unknown to torch"),
        (["digits", "--lr", "-1"], "lr must lie in"),
        (["lra-text"], "no folder is given: unpack its release and name the folder with --data-dir"),
        (["lra-text", "--data-dir", "/nowhere/at/all"], "/nowhere/at/all is no folder"),
    ],
)
def test_one_sentence(arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments, "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert told in " ".join(error.split())
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint(few: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "out" / "softmax" / "seed-0"
    place.mkdir(parents=True)
    torch.save(torch.ones(3), place / "checkpoint.pt")
    assert run(*few, "--coupler", "softmax", "--resume") == 2
    assert "is damaged or no checkpoint of monge" in capsys.readouterr().err


def test_another_schedule(few: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*few, "--coupler", "linear") == 0
    assert run(*few, "--coupler", "linear", "--resume", "--lr", "0.5") == 2
    assert "there and 0.5 here" in capsys.readouterr().err


def test_divergence_has_an_exit_code_of_its_own(few: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*few, "--coupler", "softmax", "--lr", "1e30", "--steps", "8") == 4
    assert "must be finite, but is" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(
    few: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("monge.train.Trainer._finish", interrupted)
        assert run(*few, "--coupler", "softmax") == 130
    told = " ".join(capsys.readouterr().err.split())
    assert f"`monge train {' '.join(few)} --coupler softmax --resume` goes on" in told
    assert run(*few, "--coupler", "softmax", "--resume") == 0

"""Metrics on the way: lines that survive, TensorBoard where it is, a bar where somebody looks."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from monge.train import Progress, fit, journal, summarise, write_report
from monge.train.journal import Journal, read_records
from monge.train.meter import Meter

from .toy import MODEL, SCHEDULE, toy


def test_later_records_are_dropped(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    for step in range(1, 6):
        first.add("train", step, loss=step / 3)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 6, "lo')
    second = Journal(tmp_path, step=3)
    assert second.records == read_records(tmp_path / "metrics.jsonl") == first.records[:3]
    second.add("valid", 4, accuracy=0.5)
    assert read_records(tmp_path / "metrics.jsonl")[-1] == {"step": 4, "part": "valid", "accuracy": 0.5}
    assert Journal(tmp_path).records == []


def test_tensorboard_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple] = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            told.append((folder, purge_step))

        def add_scalar(self, *what):
            told.append(what)

        def close(self):
            told.append(("closed",))

    fake = ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr(journal, "find_spec", lambda name: name == "tensorboard")
    fit(toy(), "softmax", model=MODEL, schedule=SCHEDULE, folder=tmp_path)
    assert told[0] == (str(tmp_path / "tensorboard"), 1)
    assert told[-1] == ("closed",)
    assert [what[2] for what in told if what[0] == "valid/accuracy"] == [4, 8, 12]


def test_a_meter_goes_on_where_another_stopped() -> None:
    one, cpu = Meter(torch.device("cpu")), torch.device("cpu")
    losses = torch.rand(5)
    for loss in losses:
        one.add(loss, 10)
    two = Meter(cpu)
    for loss in losses[:2]:
        two.add(loss, 10)
    three = Meter(cpu, two.window)
    for loss in losses[2:]:
        three.add(loss, 10)
    assert one.read()["loss"] == three.read()["loss"]


def test_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(shown=True) as progress:
        fit(toy(), "linear", model=MODEL, schedule=SCHEDULE, progress=progress)
        tell = progress.of("data")
        for done in (1, 2):
            tell(done, 2)
    assert capsys.readouterr().out == ""


def test_a_report_names_what_it_shows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    task = toy()
    runs = [
        fit(task, coupler, model=MODEL, schedule=SCHEDULE, seed=seed)
        for seed in range(2)
        for coupler in ("softmax", "pivots:pivots=4")
    ]
    rows = summarise(run.result for run in runs)
    assert [(row.coupler, row.seeds) for row in rows] == [("softmax", 2), ("pivots:pivots=4", 2)]
    accuracies = [run.result.accuracy for run in runs[::2]]
    assert rows[0].accuracy == pytest.approx(sum(accuracies) / 2)
    assert rows[0].spread == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    written = write_report(tmp_path / "new", task, runs, model=MODEL, schedule=SCHEDULE)
    assert {path.name for path in written} == {path.name for path in (tmp_path / "new").iterdir()}
    page = (tmp_path / "new" / "report.html").read_text()
    assert f"{task.majority_rate:.4f}" in page
    assert "seeds 0, 1" in page
    assert f"{rows[1].accuracy:.4f} ± {rows[1].spread:.4f}" in page

"""Metrics on the way: lines that survive, TensorBoard where it is, a bar where somebody looks."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from monge.train import Journal, Progress, journal, read_records
from monge.train.meter import Meter

from .problems import regression, slicer


def test_later_records_are_dropped(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    for step in range(1, 6):
        first.add("train", step, loss=step / 3)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 6, "lo')
    second = Journal(tmp_path, step=3)
    assert second.records == read_records(tmp_path / "metrics.jsonl") == first.records[:3]
    second.add("valid", 4, cost=0.5)
    assert read_records(tmp_path / "metrics.jsonl")[-1] == {"step": 4, "part": "valid", "cost": 0.5}
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
    slicer(folder=tmp_path).run()
    assert told[0] == (str(tmp_path / "tensorboard"), 1)
    assert told[-1] == ("closed",)
    assert [what[2] for what in told if what[0] == "valid/cost"] == list(range(5, 41, 5))


def test_a_meter_goes_on_where_another_stopped() -> None:
    one, cpu = Meter(torch.device("cpu")), torch.device("cpu")
    losses = torch.rand(5)
    for loss in losses:
        one.add(loss)
    two = Meter(cpu)
    for loss in losses[:2]:
        two.add(loss)
    three = Meter(cpu, two.window)
    for loss in losses[2:]:
        three.add(loss)
    assert one.read()["loss"] == three.read()["loss"]


def test_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(shown=True) as progress:
        regression(progress=progress).run()
        tell = progress.of("data")
        for done in (1, 2):
            tell(done, 2)
    assert capsys.readouterr().out == ""

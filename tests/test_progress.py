"""Progress: records for programs, bars for people, nothing for anybody else."""

from __future__ import annotations

import logging
import threading

import pytest
import torch

import monge
from monge import _progress
from monge.train import Progress


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every call of `tell` makes a record."""
    monkeypatch.setattr(_progress, "EVERY", 0.0)
    caplog.set_level(logging.DEBUG, "monge")
    return caplog


def told(log: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[tuple[str, str]]:
    return [(record.name, record.getMessage()) for record in log.records if record.levelno == level]


def test_parts_are_told_by_their_names(at_once: pytest.LogCaptureFixture) -> None:
    progress = Progress(shown=False)
    progress.begin("run", steps=4, done=1)
    progress.tell(done=2, note="loss 0.5", speed="3 ms/step")
    progress.of("data")(1, 2)
    progress.end()
    progress.tell(done=4)
    progress.end()
    progress.end()
    assert told(at_once) == [
        ("monge.train", "run, 2 of 4, 3 ms/step, loss 0.5"),
        ("monge.train", "data, 1 of 2"),
        ("monge.train", "run, 4 of 4, 3 ms/step, loss 0.5"),
    ]
    assert len(told(at_once, logging.DEBUG)) == 4


def test_one_record_a_minute(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "monge")
    clock = iter([0.0, 30.0, 59.0, 61.0, 100.0, 122.0])
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: next(clock))
    progress = Progress(shown=False)
    progress.begin("run", steps=None, done=0)
    for done in range(1, 6):
        progress.tell(done=done)
    assert len(told(caplog)) == 2


def test_a_step_that_takes_long_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "monge")
    monkeypatch.setattr(_progress, "EVERY", 0.01)
    heard, lines = threading.Event(), []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            heard.set()

    ear, log = Ear(), logging.getLogger("monge.train")
    log.addHandler(ear)
    try:
        with Progress(shown=False) as progress:
            progress.begin("long", steps=None, done=0)
            assert heard.wait(60)
            progress.end()
    finally:
        log.removeHandler(ear)
    assert lines[0] == "long"


def test_solvers_and_pairs(at_once: pytest.LogCaptureFixture) -> None:
    clouds = [torch.rand(size, 2, generator=torch.Generator().manual_seed(size)) for size in (5, 6, 7)]
    monge.pairwise(clouds)
    assert told(at_once)[-1] == ("monge.api", "pairs, 3 of 3")
    at_once.clear()
    monge.couple(clouds[0], clouds[1], epsilon=0.1)
    assert told(at_once)
    assert {name for name, _ in told(at_once)} == {"monge.solver"}


def test_silent_by_default(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "EVERY", 0.0)
    monge.pairwise([torch.zeros(3, 2), torch.ones(4, 2)])
    assert capfd.readouterr() == ("", "")

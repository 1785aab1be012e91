"""A run that was interrupted and went on is the run that was not: bit by bit, on the processor."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from monge.errors import InputError
from monge.sequences import fit, load
from monge.train import Checkpoint, MachineConfig, Trainer, read_records

from .toy import MODEL, SCHEDULE, toy

ALWAYS = MachineConfig(device="cpu", checkpoint_seconds=0.0)
TIMES = {"step_seconds", "tokens_per_second"}


class DeathError(Exception):
    """What a test throws where a process would die."""


def untimed(records: list[dict]) -> list[dict]:
    return [{name: told for name, told in record.items() if name not in TIMES} for record in records]


def numbers(result) -> dict:
    return {name: told for name, told in result.plain().items() if name not in TIMES}


def assert_same(one, two) -> None:
    assert numbers(one.result) == numbers(two.result)
    assert untimed(one.records) == untimed(two.records)
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, two.model.state_dict()[name]), name


def options(**changed) -> dict:
    return {"model": MODEL, "schedule": SCHEDULE, "machine": ALWAYS, "seed": 3} | changed


@pytest.mark.parametrize("coupler", ["softmax", "pivots:pivots=4", "performer"])
@pytest.mark.parametrize("where", ["before the update", "while saving", "after the evaluation"])
def test_interrupted_and_resumed_is_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coupler: str, where: str
) -> None:
    task = toy()
    whole = fit(task, coupler, folder=tmp_path / "whole", **options())
    assert_same(whole, fit(task, coupler, **options()))

    method = {"before the update": "_descend", "while saving": "save", "after the evaluation": "_validate"}[where]
    kept, left = getattr(Trainer, method), [6]

    def dies(self, *args):
        done = kept(self, *args) if where == "after the evaluation" else None
        left[0] -= 1
        # Evaluations are rarer than steps: die in the second of them.
        if left[0] == (4 if where == "after the evaluation" else 0):
            raise DeathError
        return kept(self, *args) if where != "after the evaluation" else done

    monkeypatch.setattr(Trainer, method, dies)
    with pytest.raises(DeathError):
        fit(task, coupler, folder=tmp_path / "cut", **options())
    monkeypatch.setattr(Trainer, method, kept)
    stopped = Checkpoint.load(tmp_path / "cut" / "checkpoint.pt")
    assert 0 < stopped.step < SCHEDULE.steps
    torch.manual_seed(99)
    again = fit(task, coupler, folder=tmp_path / "cut", resume=True, **options())
    assert_same(whole, again)
    assert untimed(read_records(tmp_path / "cut" / "metrics.jsonl")) == untimed(whole.records)
    # Finished runs are read, not redone, and load as the best model.
    assert_same(whole, fit(task, coupler, folder=tmp_path / "cut", resume=True, **options()))
    tokens = task.test.tokens
    assert torch.equal(load(tmp_path / "cut")(tokens), whole.model(tokens))


def test_interrupted_at_the_very_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(toy(), "softmax", **options())
    kept = Checkpoint.save

    def dies(self, path):
        if self.outcome is not None:
            raise DeathError
        kept(self, path)

    monkeypatch.setattr(Checkpoint, "save", dies)
    with pytest.raises(DeathError):
        fit(toy(), "softmax", folder=tmp_path, **options())
    monkeypatch.setattr(Checkpoint, "save", kept)
    assert_same(whole, fit(toy(), "softmax", folder=tmp_path, resume=True, **options()))


def test_early_stop_survives_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = replace(SCHEDULE, steps=200, evaluate_every=2, patience=3, lr=0.1)
    whole = fit(toy(), "linear", **options(schedule=schedule))
    assert whole.result.steps == whole.result.best_step + 3 * 2 < 200
    kept = Trainer._validate

    def dies(self):
        figures = kept(self)
        if self.stale == 2:
            raise DeathError
        return figures

    monkeypatch.setattr(Trainer, "_validate", dies)
    with pytest.raises(DeathError):
        fit(toy(), "linear", folder=tmp_path, **options(schedule=schedule))
    monkeypatch.setattr(Trainer, "_validate", kept)
    assert_same(whole, fit(toy(), "linear", folder=tmp_path, resume=True, **options(schedule=schedule)))


def test_seeds_decide_and_the_caller_keeps_its_randomness() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = fit(toy(), "softmax", **options())
    assert torch.equal(torch.rand(3), expected)
    assert_same(one, fit(toy(), "softmax", **options()))
    other = fit(toy(), "softmax", **options(seed=4))
    assert other.result.loss != one.result.loss


class TestFoldersThatDoNotFit:
    def test_a_run_is_not_overwritten(self, tmp_path):
        fit(toy(), "softmax", folder=tmp_path, **options())
        before = (tmp_path / "checkpoint.pt").read_bytes()
        with pytest.raises(InputError, match="holds a run already: resume it"):
            fit(toy(), "softmax", folder=tmp_path, **options())
        assert (tmp_path / "checkpoint.pt").read_bytes() == before

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"coupler": "linear"}, "coupler.name is softmax there and linear here"),
            ({"seed": 4}, "seed is 3 there and 4 here"),
            ({"schedule": replace(SCHEDULE, lr=0.5)}, "schedule.lr is 0.01 there and 0.5 here"),
            ({"model": replace(MODEL, hidden=32)}, "model.hidden is 16 there and 32 here"),
            ({"task": toy(seed=1)}, "data.checksum"),
        ],
    )
    def test_another_run(self, tmp_path, change, told):
        fit(toy(), "softmax", folder=tmp_path, **options())
        with pytest.raises(InputError, match=told):
            fit(**({"task": toy(), "coupler": "softmax"} | options(folder=tmp_path, resume=True) | change))

    @pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None])
    def test_damaged(self, tmp_path, content):
        fit(toy(), "softmax", folder=tmp_path, **options())
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(path.read_bytes()[:-300] if content is None else content)
        with pytest.raises(InputError, match="damaged or no checkpoint of monge"):
            fit(toy(), "softmax", folder=tmp_path, resume=True, **options())
        with pytest.raises(InputError, match="damaged or no checkpoint of monge"):
            load(tmp_path)

    def test_foreign(self, tmp_path):
        torch.save({"weights": torch.ones(3)}, tmp_path / "checkpoint.pt")
        with pytest.raises(InputError, match="no checkpoint of monge"):
            load(tmp_path)
        with pytest.raises(InputError, match="is not there"):
            load(tmp_path / "nowhere")

    def test_nothing_in_a_checkpoint_is_executed(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "made"),)

        torch.save({"format": "monge-train-2", "evil": Evil()}, tmp_path / "checkpoint.pt")
        with pytest.raises(InputError, match="damaged or no checkpoint"):
            load(tmp_path)
        assert not (tmp_path / "made").exists()

    def test_a_file_where_the_folder_should_be(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="could not be made"):
            fit(toy(), "softmax", folder=tmp_path / "file" / "run", **options())


def full(*_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(toy(), "softmax", **options())
    kept, left = os.fsync, [8]

    def fills(descriptor):
        left[0] -= 1
        return full() if left[0] < 0 else kept(descriptor)

    monkeypatch.setattr(os, "fsync", fills)
    with pytest.raises(InputError, match=r"could not be written \(No space left on device\)"):
        fit(toy(), "softmax", folder=tmp_path, **options())
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "metrics.jsonl"}
    assert 0 < Checkpoint.load(tmp_path / "checkpoint.pt").step < SCHEDULE.steps
    monkeypatch.setattr(os, "fsync", kept)
    assert_same(whole, fit(toy(), "softmax", folder=tmp_path, resume=True, **options()))


def test_a_full_disk_stops_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Path.open

    def opens(self, mode="r", *rest, **more):
        return full() if mode == "a" else kept(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", opens)
    with pytest.raises(InputError, match="free some space, then resume"):
        fit(toy(), "softmax", folder=tmp_path, **options())

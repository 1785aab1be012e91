"""A run that is killed at any place and goes on is the run that was not: bit by bit, for any objective."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from monge.train import Checkpoint, Trainer, trainer

from .problems import ALWAYS, PROBLEMS, account, assert_same, path_of

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("deaths", [3, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_run_that_dies_often_is_the_run_that_does_not(
    problem: str, processes: int, deaths: int, tmp_path: Path
) -> None:
    paths = [str(TESTS.parent / "src"), str(TESTS), os.environ.get("PYTHONPATH", "")]
    arguments = [problem, str(processes), str(deaths), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "deaths.py"), *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [int(place.rpartition(" ")[2]) for place in done.stdout.splitlines()]
    assert len(steps) == deaths
    assert steps == sorted(steps)
    assert steps[-1] == 40 > steps[-2] > 0
    whole, often = (
        [torch.load(path_of(folder, rank), weights_only=True) for rank in range(processes)]
        for folder in (tmp_path / "whole", tmp_path)
    )
    for one, two in zip(whole, often, strict=True):
        assert_same(one, two)
    # All processes hold the same weights and figures.
    for name in ("figures", "best_step", "steps", "parameters"):
        assert whole[0]["numbers"][name] == whole[-1]["numbers"][name]
    assert all(torch.equal(held, whole[-1]["weights"][name]) for name, held in whole[0]["weights"].items())


class DeathError(Exception):
    """What a test throws where a process would die."""


def interrupted(problem: str, folder: Path, **options: Any) -> Trainer:
    """A trainer that goes on after a death at step 13."""

    def dies(step: Any) -> None:
        if step.number == 13:
            raise DeathError

    with pytest.raises(DeathError):
        PROBLEMS[problem](folder=folder, machine=ALWAYS, callbacks=[dies], **options).run()
    return PROBLEMS[problem](folder=folder, machine=ALWAYS, resume=True)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("forgotten", ["optimizer", "step", "model", "window"])
def test_the_comparison_sees_what_a_checkpoint_would_forget(
    problem: str, forgotten: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fewer records than steps, so that a death falls between two of them.
    monkeypatch.setattr(trainer, "_RECORDS", 7)
    whole = account(PROBLEMS[problem](machine=ALWAYS))
    assert_same(whole, account(interrupted(problem, tmp_path / "right")))
    load = Checkpoint.load.__func__  # type: ignore[attr-defined]

    def forgets(cls: type[Checkpoint], path: Path) -> Checkpoint:
        found = load(cls, path)
        fresh = PROBLEMS[problem](machine=ALWAYS)
        poor = {
            "optimizer": fresh.optimizer.state_dict(),
            "step": 11,
            "window": (0.0, 3),
            "model": fresh.model.state_dict(),
        }
        object.__setattr__(found, forgotten, poor[forgotten])
        return found

    monkeypatch.setattr(Checkpoint, "load", classmethod(forgets))
    wrong = account(interrupted(problem, tmp_path / "wrong"))
    with pytest.raises(AssertionError):
        assert_same(whole, wrong)

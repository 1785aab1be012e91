"""Checkpoints and journals on disk: what was changed is refused, and nobody else writes where a run is at work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monge._files import hold_folder, write_whole
from monge.errors import InputError
from monge.train import Checkpoint, read_records
from mutants import flipped, mutant, outcome
from sweep import sweep

from .problems import ALWAYS, regression


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was left after some steps."""
    folder = tmp_path_factory.mktemp("run")
    held = regression(folder=folder, machine=ALWAYS)
    for step in held:
        if step.number == 7:
            break
    held.save()
    return folder


def equal(one: Any, two: Any) -> bool:
    """Whether two states are the same, bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return isinstance(two, dict) and list(one) == list(two) and all(equal(one[name], two[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(two) and len(one) == len(two) and all(map(equal, one, two))
    return type(one) is type(two) and one == two


def test_a_checkpoint_is_what_torch_reads(run: Path) -> None:
    path = run / "checkpoint.pt"
    held = torch.load(path, weights_only=True)
    assert held.pop("format") == "monge-train-2"
    found = Checkpoint.load(path)
    assert equal(held, vars(found))
    assert held["model"]._metadata == found.model._metadata


@sweep(200, 4000)
def test_flipped_bits_of_a_checkpoint(run: Path, seeds: range, tmp_path: Path) -> None:
    content, held = (run / "checkpoint.pt").read_bytes(), vars(Checkpoint.load(run / "checkpoint.pt"))
    bits = np.random.default_rng(0).permutation(8 * len(content))
    refused = 0
    for seed in seeds:
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(flipped(content, int(bits[seed % len(bits)])))
        found = outcome(lambda path=path: Checkpoint.load(path), seed)
        refused += found is None
        assert found is None or equal(vars(found), held), seed
    assert refused


@sweep(40, 1000)
def test_mutated_checkpoints(run: Path, seeds: range, tmp_path: Path) -> None:
    content, held = (run / "checkpoint.pt").read_bytes(), vars(Checkpoint.load(run / "checkpoint.pt"))
    for seed in seeds:
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(mutant(content, seed))
        found = outcome(lambda path=path: Checkpoint.load(path), seed)
        assert found is None or equal(vars(found), held), seed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"step": "seven"}, "its entry 'step' is of type str"),
        ({"model": None}, "its entry 'model' is of type NoneType"),
        ({"other": 1}, "it lacks something that a run needs, or has more"),
        ({"format": "monge-train-9"}, "it has another format"),
        ({"format": ["monge-train-2"]}, "it has another format"),
    ],
)
def test_forged_checkpoints(change: dict[str, Any], told: str, run: Path, tmp_path: Path) -> None:
    torch.save(torch.load(run / "checkpoint.pt", weights_only=True) | change, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=f"damaged or no checkpoint of monge .*{told}"):
        Checkpoint.load(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    "change", [{"optimizer": {}}, {"optimizer": {"state": 1, "param_groups": 2}}, {"outcome": {"x": 1}}]
)
def test_a_state_of_something_else(change: dict[str, Any], run: Path, tmp_path: Path) -> None:
    torch.save(torch.load(run / "checkpoint.pt", weights_only=True) | change, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"is damaged .*: restore a copy"):
        regression(folder=tmp_path, machine=ALWAYS, resume=True)


def test_checksums_are_written_whatever_torch_was_told(run: Path, tmp_path: Path) -> None:
    held = Checkpoint.load(run / "checkpoint.pt")
    torch.serialization.set_crc32_options(False)
    try:
        held.save(tmp_path / "checkpoint.pt")
        assert not torch.serialization.get_crc32_options()
    finally:
        torch.serialization.set_crc32_options(True)
    assert equal(vars(Checkpoint.load(tmp_path / "checkpoint.pt")), vars(held))


def test_the_old_format_of_torch_is_refused(tmp_path: Path) -> None:
    torch.save({"format": "monge-train-2"}, tmp_path / "checkpoint.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"written by torch before 1\.6, .*: restore a copy of it, or start again"):
        Checkpoint.load(tmp_path / "checkpoint.pt")


# ---------------------------------------------------------------------- journals


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"step": 1, "part": "train"}\n\xff\n', "line 2 is no text in UTF-8"),
        (b'{"step": 1, "part"\n{"step": 2, "part": "train"}\n', "line 1 is no record of a run"),
        (b"[1, 2]\n", "line 1 is no record"),
        (b'{"step": "1", "part": "train"}\n', "line 1 is no record"),
        (b"[" * 100_000 + b"\n", "line 1 is no record"),
        (b'{"step": ' + b"9" * 5000 + b', "part": "train"}\n', "line 1 is no record"),
    ],
)
def test_journals_that_are_none(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=f"metrics.jsonl cannot be used: {told}.*; restore a copy of it"):
        read_records(tmp_path / "metrics.jsonl")


def test_a_journal_that_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(InputError, match="it is no regular file"):
        read_records(tmp_path / "metrics.jsonl")


@sweep(40, 1000)
def test_mutated_journals(run: Path, seeds: range, tmp_path: Path) -> None:
    content = (run / "metrics.jsonl").read_bytes()
    for seed in seeds:
        (tmp_path / "metrics.jsonl").write_bytes(mutant(content, seed))
        found = outcome(lambda: read_records(tmp_path / "metrics.jsonl"), seed)
        assert found is None or all(json.dumps(record) for record in found), seed


# ---------------------------------------------------------------------- writing


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    held = regression(folder=tmp_path, machine=ALWAYS)
    with pytest.raises(InputError, match="is in use by another run: wait until it ends"):
        regression(folder=tmp_path, machine=ALWAYS, resume=True)
    for step in held:
        if step.number == 7:
            with pytest.raises(InputError, match="is in use by another run"):
                regression(folder=tmp_path, machine=ALWAYS, resume=True)
            break
    held.save()
    # Whoever leaves the loop leaves the folder.
    other = regression(folder=tmp_path, machine=ALWAYS, resume=True)
    with pytest.raises(InputError, match="is in use by another run"):
        held.run()
    assert other.run().result.steps == 40
    assert regression(folder=tmp_path, machine=ALWAYS, resume=True).run().result.steps == 40


def test_a_dead_run_lets_go_of_its_folder(tmp_path: Path) -> None:
    code = "import sys, time, pathlib; from monge._files import hold_folder\n"
    code += "with hold_folder(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=_environment())
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match="is in use by another run"), hold_folder(tmp_path):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with hold_folder(tmp_path):
        assert list(tmp_path.iterdir()) == []


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_scraps_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    code = "import sys, time, pathlib; from monge._files import write_whole\n"
    code += "def slow(stream):\n    stream.write(b'half'); stream.flush(); print('half', flush=True); time.sleep(600)\n"
    code += "write_whole(pathlib.Path(sys.argv[1]), slow)"
    path, mine = tmp_path / "plan.npz", tmp_path / ".plan.npz.notes.part"
    mine.write_text("of the user")
    (tmp_path / ".plan.npz.part").write_bytes(b"of an earlier version")
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, env=_environment())
    assert child.stdout is not None
    assert child.stdout.readline() == b"half\n"
    write_whole(path, lambda stream: stream.write(b"whole"))
    scraps = {found for found in tmp_path.iterdir() if found not in (path, mine)}
    assert len(scraps) == 1
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    write_whole(path, lambda stream: stream.write(b"again"))
    assert set(tmp_path.iterdir()) == {path, mine}
    assert path.read_bytes() == b"again"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_the_permissions_of_a_file_stay(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "plan.npz"
    path.write_bytes(b"old")
    path.chmod(mode)
    (tmp_path / "link").symlink_to(path)
    write_whole(tmp_path / "link", lambda stream: stream.write(b"new"))
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == mode
    assert (tmp_path / "link").is_symlink()

"""Texts by bytes: nothing leaks from one part to another, and the classes are not told by a name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from monge.data import Task, byte_text
from monge.data.byte_text import LIBRARIES, NAMES, _documented
from monge.errors import InputError


def texts(task: Task) -> list[list[bytes]]:
    """What is written in each part."""
    return [
        [bytes((row[row > 0] - 1).to(torch.uint8).tolist()) for row in split.tokens]
        for split in (task.train, task.valid, task.test)
    ]


def write(folder: Path, count: int = 20) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            (folder / name / f"{k:03}.txt").write_bytes(bytes([255, 0, k]) + name.encode() * (k + 1))
    return folder


@pytest.fixture(scope="module")
def docstrings() -> Task:
    return byte_text(length=2048)


def test_classes_are_balanced(docstrings: Task) -> None:
    assert (docstrings.vocabulary, docstrings.classes, docstrings.pad, docstrings.length) == (257, 5, 0, 2048)
    for split, share in ((docstrings.train, 0.8), (docstrings.valid, 0.1), (docstrings.test, 0.1)):
        counts = split.labels.bincount(minlength=5)
        total = len(docstrings.train) + len(docstrings.valid) + len(docstrings.test)
        assert (counts - share * total / 5).abs().max() < 0.02 * total
    assert len(docstrings.train) > 3000
    assert docstrings.majority_rate == pytest.approx(0.2, abs=0.03)


def test_texts_are_long_and_name_no_library(docstrings: Task) -> None:
    for part in texts(docstrings):
        for text in part:
            assert len(text) >= 200
            assert not NAMES.search(text.decode(errors="replace"))


def test_parts_share_no_source(docstrings: Task) -> None:
    """Files of one package, found again by what is written in them."""
    source_of = {text[:2048]: k for k, source in enumerate(_documented("networkx")) for text in source}
    train, valid, test = (
        {source_of[text] for text, label in zip(part, split.labels.tolist(), strict=True) if label == 0}
        for part, split in zip(texts(docstrings), (docstrings.train, docstrings.valid, docstrings.test), strict=True)
    )
    assert min(map(len, (train, valid, test))) > 3
    assert train.isdisjoint(valid | test)
    assert valid.isdisjoint(test)


def test_counting_bytes_is_not_enough(docstrings: Task) -> None:
    """The task is neither solved nor hopeless for who looks at single bytes: a nearest mean of their frequencies."""

    def frequencies(split) -> torch.Tensor:
        counts = torch.zeros(len(split), 257)
        counts.scatter_add_(1, split.tokens.long(), torch.ones(split.tokens.shape))
        counts[:, 0] = 0
        return (counts / counts.sum(1, keepdim=True)).sqrt()

    train, test = frequencies(docstrings.train), frequencies(docstrings.test)
    means = torch.stack([train[docstrings.train.labels == k].mean(0) for k in range(5)])
    right = (torch.cdist(test, means).argmin(1) == docstrings.test.labels).double().mean()
    assert 0.4 < float(right) < 0.9


def test_a_folder_of_texts(tmp_path: Path) -> None:
    task = byte_text(folder=write(tmp_path), length=8, seed=1)
    assert (task.classes, task.length, [len(part) for part in texts(task)]) == (2, 8, [32, 4, 4])
    # Zero bytes are no padding: cut texts have all of their first eight.
    for split in (task.train, task.valid, task.test):
        for row, label in zip(split.tokens.tolist(), split.labels.tolist(), strict=True):
            k = row[2] - 1
            assert row == ([256, 1, k + 1] + [ord("ab"[label]) + 1] * (k + 1) + [0] * 8)[:8]
    seen = [(row[2], label) for split in (task.train, task.valid, task.test)
            for row, label in zip(split.tokens.tolist(), split.labels.tolist(), strict=True)]  # fmt: skip
    assert len(set(seen)) == 40


def test_the_seed_decides(tmp_path: Path) -> None:
    folder = write(tmp_path)
    one, again, other = (byte_text(folder=folder, length=8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.train.tokens, again.train.tokens)
    assert not torch.equal(one.test.tokens, other.test.tokens)


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sympy" else find(name))
    with pytest.raises(InputError, match="sympy is not installed: pip install sympy, or pass a folder"):
        byte_text()
    assert "sympy" in LIBRARIES


def test_what_is_no_folder_of_texts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder: pass one that holds"):
        byte_text(folder=tmp_path / "absent")
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="a subfolder per class, at least two, but holds 1"):
        byte_text(folder=tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="must hold at least three texts, one for each part, but holds 0 files"):
        byte_text(folder=tmp_path)
    for name in ("a", "b"):
        for k in range(3):
            (tmp_path / name / f"{k}.txt").write_text("text")
    assert len(byte_text(folder=tmp_path).test) == 2
    with pytest.raises(InputError, match="length must be a positive integer"):
        byte_text(folder=tmp_path, length=0)
    (tmp_path / "b" / "1.txt").write_text("")
    with pytest.raises(InputError, match=r"1.txt is empty: write something, or remove it"):
        byte_text(folder=tmp_path)

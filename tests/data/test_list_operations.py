"""List operations: labels against an independent reading, lengths against their exact law, parts that share no tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monge.data import Task, evaluate_list_operations, list_operations, list_operations_text
from monge.data._trees import Trees, grow
from monge.errors import InputError

SMALL = {"lengths": (20, 60), "depth": 4, "counts": (300, 50, 70)}


def law_of_length(depth: int, arguments: int, high: int) -> np.ndarray:
    """The probability of each length below ``high``: one of a digit; two and that of its subtrees of an operator."""
    law = np.zeros(high)
    law[1] = 1.0
    for _ in range(depth - 1):
        power, total = law, np.zeros(high)
        for _ in range(2, arguments + 1):
            power = np.fft.irfft(np.fft.rfft(power, 2 * high) * np.fft.rfft(law, 2 * high), 2 * high)[:high]
            total = total + power
        law = np.zeros(high)
        law[1] = 0.75
        law[2:] += 0.25 * total[:-2] / (arguments - 1)
    return law


def rows(task: Task) -> list[torch.Tensor]:
    return [split.tokens for split in (task.train, task.valid, task.test)]


def draws(count: int, batches: int, **rules) -> Trees:
    rng = np.random.default_rng(0)
    grown = [grow(count, rng, **rules) for _ in range(batches)]
    return Trees(
        *(np.concatenate([getattr(trees, name) for trees in grown]) for name in ("tokens", "lengths", "labels"))
    )


@pytest.fixture(scope="module")
def standard() -> Trees:
    """What 30,000 draws of the standard form leave, about 2500 trees."""
    return draws(3000, 10, depth=10, arguments=10, lengths=(500, 2000))


def test_the_law_by_hand() -> None:
    """Depth two, two arguments: a digit, or four symbols."""
    np.testing.assert_allclose(law_of_length(2, 2, 8), [0, 0.75, 0, 0, 0.25, 0, 0, 0], atol=1e-12)


def test_lengths_follow_their_law(standard: Trees) -> None:
    law = law_of_length(10, 10, 2000)
    law[:501] = 0
    accepted = law.sum()
    # What the law says, in numbers that can be looked up.
    mean = float((law * np.arange(2000)).sum() / accepted)
    below = np.cumsum(law) / accepted
    assert (round(accepted, 4), round(mean)) == (0.0828, 1035)
    assert [int(np.searchsorted(below, level)) for level in (0.1, 0.5, 0.9)] == [577, 954, 1643]
    # What was drawn: three standard deviations for the rate, the Kolmogorov bound at 0.1 % for the lengths.
    count = standard.lengths.size
    assert abs(count / 30_000 - accepted) < 3 * (accepted * (1 - accepted) / 30_000) ** 0.5
    drawn = np.searchsorted(np.sort(standard.lengths), np.arange(2000), side="right") / count
    assert np.abs(drawn - below).max() < 1.95 / count**0.5
    assert standard.lengths.min() > 500
    assert standard.lengths.max() < 2000


def test_labels_are_not_uniform(standard: Trees) -> None:
    rate = np.bincount(standard.labels, minlength=10) / standard.labels.size
    assert rate[0] == pytest.approx(0.167, abs=0.025)
    assert rate[9] == pytest.approx(0.167, abs=0.025)
    assert rate[1:9].max() < 0.11
    assert rate[1:9].min() > 0.06


def test_symbols_are_uniform(standard: Trees) -> None:
    counts = np.bincount(standard.tokens, minlength=16)
    assert counts[0] == 0
    assert counts[11:15].sum() == counts[15]
    for same in (counts[1:11], counts[11:15]):
        expected = same.mean()
        # Chi-square has mean dof and variance 2 dof; five standard deviations.
        dof = same.size - 1
        assert ((same - expected) ** 2 / expected).sum() < dof + 5 * (2 * dof) ** 0.5


def test_labels_against_the_evaluator() -> None:
    for task in (list_operations(**SMALL, seed=1), list_operations(counts=(60, 20, 20), seed=2)):
        for split in (task.train, task.valid, task.test):
            assert torch.equal(evaluate_list_operations(split.tokens), split.labels)


def test_depth_and_arguments() -> None:
    task = list_operations(lengths=(20, 80), depth=4, arguments=5, counts=(400, 10, 10))
    deepest, widest = 0, set()
    for row in task.train.tokens:
        held = [0]
        for token in filter(None, row.tolist()):
            if 11 <= token <= 14:
                held.append(0)
            elif token == 15:
                widest.add(held.pop())
                held[-1] += 1
            else:
                held[-1] += 1
            deepest = max(deepest, len(held))
    # The innermost operator stands at depth three, its digits at depth four.
    assert (deepest, widest) == (4, {2, 3, 4, 5})


def test_no_tree_twice() -> None:
    # Three symbols of a small alphabet: most draws are repetitions.
    task = list_operations(lengths=(3, 5), depth=2, arguments=2, counts=(300, 40, 40), seed=5)
    held = [bytes(row.numpy()) for tokens in rows(task) for row in tokens]
    assert len(set(held)) == len(held) == 380


def test_the_seed_decides_and_the_number_to_train_does_not() -> None:
    one, again, other = (
        list_operations(**SMALL, seed=3),
        list_operations(**SMALL, seed=3),
        list_operations(**SMALL, seed=4),
    )
    assert all(torch.equal(a, b) for a, b in zip(rows(one), rows(again), strict=True))
    assert not torch.equal(one.test.tokens, other.test.tokens)
    fewer = list_operations(**{**SMALL, "counts": (30, 50, 70)}, seed=3)
    assert torch.equal(fewer.test.tokens, one.test.tokens)
    assert torch.equal(fewer.valid.tokens, one.valid.tokens)
    assert torch.equal(fewer.train.tokens, one.train.tokens[:30])


def test_shape_of_the_task() -> None:
    task = list_operations(**SMALL)
    assert (task.vocabulary, task.classes, task.pad, task.length) == (16, 10, 0, 60)
    assert [len(tokens) for tokens in rows(task)] == [300, 50, 70]
    lengths = (task.train.tokens > 0).sum(1)
    assert lengths.min() > 20
    assert lengths.max() < 60
    # Padding stands behind the tree and nowhere else.
    assert torch.equal(task.train.tokens.ne(0).sum(1), task.train.tokens.ne(0).cumprod(1).sum(1))


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    list_operations(**SMALL, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (420, 420)


def test_a_folder_keeps_them(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    one = list_operations(**SMALL, folder=folder)
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    again = list_operations(**SMALL, folder=folder)
    assert file.stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(rows(one), rows(again), strict=True))
    assert torch.equal(one.train.labels, again.train.labels)
    # Another seed is another file.
    list_operations(**SMALL, folder=folder, seed=1)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_file_is_told(damage: str, tmp_path: Path) -> None:
    list_operations(**SMALL, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    held = bytearray(file.read_bytes())
    if damage == "flipped":
        held[len(held) // 2] ^= 0xFF
    file.write_bytes(held[: {"cut": len(held) // 2, "flipped": None, "emptied": 0}[damage]])
    with pytest.raises(InputError, match=r"is not a task as it was written .*: delete it, and it is made anew"):
        list_operations(**SMALL, folder=tmp_path)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"could not be made .*: choose another one"):
        list_operations(**SMALL, folder=tmp_path / "file")


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(InputError, match="No space left on device"):
        list_operations(**SMALL, folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            {"lengths": (3, 5), "depth": 2, "arguments": 2, "counts": (400, 1, 1)},
            "ask for 402 different trees, but after 400",
        ),
        ({"lengths": (20, 21)}, r"lengths\[1\] must be an integer, at least 22"),
        ({"depth": 0}, "depth must be a positive integer"),
        ({"arguments": 1}, "arguments must be an integer between 2 and 100"),
        ({"depth": 3.0}, "depth must be a positive integer, but is 3.0"),
        ({"counts": (0, 1, 1)}, r"counts\[0\] must be a positive integer"),
        ({"counts": (1, 1)}, "counts must be three numbers"),
        ({"seed": -1}, "seed must lie in"),
    ],
)
def test_what_cannot_be_asked_for(rules: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        list_operations(**{**SMALL, **rules})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[MED 1 2 ]", 1),
        ("[MED 8 9 ]", 8),
        ("[MED 9 1 5 ]", 5),
        ("[MED 0 9 2 7 ]", 4),
        ("[SM 9 9 9 [SM 1 2 ] ]", 0),
    ],
)
def test_values_by_hand(text: str, value: int) -> None:
    symbols = ["", *"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]"]
    tokens = torch.tensor([symbols.index(symbol) for symbol in text.split()] + [0, 0])
    assert list_operations_text(tokens) == text
    assert int(evaluate_list_operations(tokens)) == value


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([11, 1, 2], "1 operators are not closed"),
        ([11, 15], "an operator without an argument"),
        ([1, 15], "a bracket closes nothing"),
        ([1, 2], "2 values are left"),
        ([0, 0], "0 values are left"),
        ([16], r"must be ids in 0\.\.15, but hold 16"),
    ],
)
def test_what_is_no_tree(ids: list[int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        evaluate_list_operations(torch.tensor(ids))


@pytest.mark.slow
def test_the_standard_task() -> None:
    task = list_operations()
    lengths = (task.train.tokens > 0).sum(1).double()
    assert float(lengths.mean()) == pytest.approx(1035, abs=6)
    assert float(lengths.median()) == pytest.approx(954, abs=8)
    rate = task.train.labels.bincount() / len(task.train)
    assert float(rate.max()) == pytest.approx(0.168, abs=0.005)
    assert len({bytes(row.numpy()) for tokens in rows(task) for row in tokens}) == 100_000
    some = task.test.tokens[:500]
    assert torch.equal(evaluate_list_operations(some), task.test.labels[:500])

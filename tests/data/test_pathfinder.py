"""Pathfinder: the label against the dashes alone, the drawing against the geometry, and no way around the curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata

from monge.data import pathfinder
from monge.data._canvas import paint
from monge.data._snakes import Curves, Rules
from monge.data.pathfinder import _rules, _scenes
from monge.errors import InputError

Scenes = tuple[Curves, np.ndarray, np.ndarray]
SMALL = {"contour": 6, "counts": (120, 20, 30)}


@pytest.fixture(scope="module", params=[(32, 14), (32, 6), (128, 9)], ids=str)
def drawn(request: pytest.FixtureRequest) -> tuple[Rules, Scenes]:
    size, contour = request.param
    rules = _rules(size, contour)
    return rules, _scenes(4000 if size == 32 else 1000, np.random.default_rng(3), rules)


def bends(curves: Curves, picture: int, rules: Rules, margin: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which dashes of a picture continue each other, by position and direction alone: pivots meet, turn under 90."""
    here = curves.snake[picture] >= 0
    start, end = curves.start[picture][here], curves.end[picture][here]
    along = (end - start) / rules.length
    tips, outwards = np.concatenate([start, end]), np.concatenate([-along, along])
    pivots = tips + margin * outwards
    apart = np.linalg.norm(pivots[:, None] - pivots, axis=-1)
    owner = np.tile(np.arange(len(start)), 2)
    meet = (apart <= 0.75) & (outwards @ outwards.T < 0.01) & (owner[:, None] != owner)
    return tips, owner, meet


def margin_of(curves: Curves, picture: int, rules: Rules) -> int:
    """The margin a picture was drawn with, seen from the pixels that its dashes pivot about."""
    start, end = curves.start[picture, 0], curves.end[picture, 0]
    along = (end - start) / rules.length
    off = [np.abs(start - m * along - np.rint(start - m * along)).max() for m in rules.margins]
    return rules.margins[int(np.argmin(off))]


def test_labels_follow_from_the_dashes(drawn: tuple[Rules, Scenes]) -> None:
    """Dashes are joined without knowing their curve; the marks must be joined exactly if the label says so."""
    rules, (curves, labels, marks) = drawn
    right = 0
    count = min(len(labels), 60)
    for picture in range(count):
        tips, owner, meet = bends(curves, picture, rules, margin_of(curves, picture, rules))
        dashes = int(owner.max()) + 1
        joined = np.zeros((dashes, dashes))
        one, two = np.nonzero(meet)
        joined[owner[one], owner[two]] = 1
        _, component = connected_components(joined)
        marked = [owner[np.linalg.norm(tips - mark, axis=1).argmin()] for mark in marks[picture]]
        right += (component[marked[0]] == component[marked[1]]) == bool(labels[picture])
    # Two curves may by accident seem to continue each other.
    assert right >= 0.97 * count


def test_marks_stand_on_tips(drawn: tuple[Rules, Scenes]) -> None:
    rules, (curves, labels, marks) = drawn
    rows = np.arange(len(labels))
    origins = np.stack([curves.start[rows, 0], curves.start[rows, 1]], axis=1)
    ends = np.stack([curves.end[rows, -1 - k + 2 * rules.contour - curves.end.shape[1]] for k in (1, 0)], axis=1)
    origin = np.linalg.norm(origins - marks[:, :1], axis=-1)
    end = np.linalg.norm(ends - marks[:, 1:], axis=-1)
    assert (origin.min(axis=1) == 0).all()
    assert (end.min(axis=1) == 0).all()
    np.testing.assert_array_equal(origin.argmin(axis=1) == end.argmin(axis=1), labels == 1)


def test_geometry(drawn: tuple[Rules, Scenes]) -> None:
    rules, (curves, _, _) = drawn
    here = curves.snake >= 0
    assert here[:, : 2 * rules.contour].all()
    np.testing.assert_allclose(np.linalg.norm(curves.end - curves.start, axis=-1)[here], rules.length, rtol=1e-6)
    for tip in (curves.start[here], curves.end[here]):
        assert tip.min() > 0
        assert tip.max() < rules.size - 1
    # Origins: their distance is that of their pivots up to rounding and the margin towards each dash.
    apart = np.linalg.norm(curves.start[:, 0] - curves.start[:, 1], axis=-1)
    assert np.abs(apart - rules.seed_distance).max() <= 2 * max(rules.margins) + 1
    # A dash follows within the gap, and turns by less than a right angle.
    for snake in (0, 1):
        start, end = (tips[:, snake : 2 * rules.contour : 2] for tips in (curves.start, curves.end))
        gap = np.linalg.norm(start[:, 1:] - end[:, :-1], axis=-1)
        assert gap.max() <= 2 * max(rules.margins) + 0.75
        along = (end - start) / rules.length
        turn = np.arccos((along[:, 1:] * along[:, :-1]).sum(-1).clip(-1, 1)) * rules.continuity
        assert turn.max() < np.pi / 2
        assert turn.mean() > 0.1


def test_curves_keep_clear(drawn: tuple[Rules, Scenes]) -> None:
    rules, (curves, _, _) = drawn
    at = np.linspace(0, 1, 5)[:, None, None, None]
    points = curves.start + at * (curves.end - curves.start)
    for picture in range(min(40, len(curves.snake))):
        here = curves.snake[picture] >= 0
        snake = np.tile(curves.snake[picture][here], 5)
        flat = points[:, picture, here].reshape(-1, 2)
        apart = np.linalg.norm(flat[:, None] - flat, axis=-1)[snake[:, None] != snake]
        assert apart.min() > margin_of(curves, picture, rules)


def test_distractors(drawn: tuple[Rules, Scenes]) -> None:
    rules, (curves, _, _) = drawn
    short = rules.contour // 3
    assert rules.distractors == (short,) * ({32: 20, 128: 35}[rules.size] // short)
    for snake, dashes in enumerate(rules.distractors, start=2):
        found = (curves.snake == snake).sum(axis=1)
        # All of its dashes or none.
        assert set(found) <= {0, dashes}
    there = [(curves.snake == snake).any(axis=1).mean() for snake in range(2, 2 + len(rules.distractors))]
    assert np.mean(there) > 0.4


def test_single_dashes_are_strewn_in() -> None:
    rules = _rules(32, 6, singles=3)
    curves, _, _ = _scenes(1000, np.random.default_rng(0), rules)
    assert rules.distractors == (2,) * 10 + (1,) * 3
    assert (curves.snake >= 12).sum(axis=1).max() == 3


def auc(score: np.ndarray, labels: np.ndarray) -> float:
    """How often a picture of label one has the higher score."""
    ones = labels.sum()
    return (rankdata(score)[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))


def test_no_way_around_the_curve() -> None:
    rules = _rules(32, 6)
    curves, labels, marks = _scenes(16_000, np.random.default_rng(5), rules)
    pictures = paint(curves, marks, rules)
    noise = 0.29 / len(labels) ** 0.5 * 2
    assert len(labels) > 4000
    assert abs(labels.mean() - 0.5) < 3 * 0.5 / len(labels) ** 0.5
    assert abs(auc(pictures.mean(axis=(1, 2)), labels) - 0.5) < 3 * noise
    assert abs(auc((curves.snake >= 0).sum(axis=1), labels) - 0.5) < 3 * noise
    border = np.minimum(marks, 31 - marks).min(axis=(1, 2))
    assert abs(auc(border, labels) - 0.5) < 3 * noise
    # Ends of one curve are a little nearer to each other than ends of two, or further; not by much.
    assert abs(auc(np.linalg.norm(marks[:, 0] - marks[:, 1], axis=1), labels) - 0.5) < 0.08


def test_a_drawing_by_hand() -> None:
    rules = Rules(8, 2.0, 1.0, (1,), 1, 1.0, 0, 1.5, 0.25)
    curves = Curves(np.array([[[4.0, 2.0], [0, 0]]]), np.array([[[4.0, 4.0], [0, 0]]]), np.array([[0, -1]]))
    (picture,) = paint(curves, np.array([[[1.0, 6.0]]]), rules)
    # The dash covers three pixels, at half the light; the other one is no dash. Of the corners of the square about
    # the disc, three quarters are within its radius.
    corner, edge = 191, 255
    expected = np.zeros((8, 8), dtype=np.uint8)
    expected[4, 2:5] = 128
    expected[0:3, 5:8] = [[corner, edge, corner], [edge, edge, edge], [corner, edge, corner]]
    np.testing.assert_array_equal(picture, expected)


def test_a_batch_without_a_picture() -> None:
    """So few tries that none is left: an empty batch is no error."""
    rules = _rules(64, 14)
    curves, labels, marks = _scenes(2, np.random.default_rng(0), rules)
    assert labels.shape == (0,)
    assert paint(curves, marks, rules).shape == (0, 64, 64)


def test_the_seed_decides_and_the_number_to_train_does_not() -> None:
    one, again, other = (pathfinder(**SMALL, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.train.tokens, again.train.tokens)
    assert torch.equal(one.train.labels, again.train.labels)
    assert not torch.equal(one.test.tokens, other.test.tokens)
    fewer = pathfinder(**{**SMALL, "counts": (12, 20, 30)}, seed=1)
    assert torch.equal(fewer.test.tokens, one.test.tokens)
    assert torch.equal(fewer.valid.tokens, one.valid.tokens)
    assert torch.equal(fewer.train.tokens, one.train.tokens[:12])


def test_shape_of_the_task(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    task = pathfinder(**SMALL, folder=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert (task.vocabulary, task.classes, task.pad, task.length) == (256, 2, None, 1024)
    assert [len(split) for split in (task.train, task.valid, task.test)] == [120, 20, 30]
    assert told[-1] == (170, 170)
    assert task.train.tokens.max() == 255
    # Bright discs on dark ground: most of a picture is black.
    assert 0.6 < float((task.train.tokens == 0).double().mean()) < 0.95
    again = pathfinder(**SMALL, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert torch.equal(task.train.tokens, again.train.tokens)


def test_pictures_of_other_sizes() -> None:
    """At 64 a batch may well leave no picture; the next one is tried."""
    task = pathfinder(size=64, counts=(2, 1, 1))
    assert task.length == 4096
    assert task.train.tokens.max() == 255


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"size": 48}, "size=48 is unknown: choose one of 32, 64, 128"),
        ({"contour": 10}, "contour=10 is unknown: choose one of 6, 9, 14"),
        ({"singles": -1}, "singles must be an integer between 0 and 100"),
        ({"counts": (1, 0, 1)}, r"counts\[1\] must be a positive integer"),
        ({"seed": -1}, "seed must lie in"),
    ],
)
def test_what_cannot_be_asked_for(rules: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        pathfinder(**{**SMALL, **rules})

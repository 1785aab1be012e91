"""How long an exact problem will take, and the warning before a long one."""

from __future__ import annotations

import pytest
import torch

import monge
from monge.errors import DurationWarning
from monge.geometry import PointCloud
from monge.problem import Linear
from monge.solver import Assignment, Auto, Simplex, Sinkhorn, estimated_seconds


def clouds(n: int, m: int, epsilon: float = 0.0) -> Linear:
    generator = torch.Generator().manual_seed(0)
    return Linear(
        PointCloud(torch.rand(n, 2, generator=generator), torch.rand(m, 2, generator=generator)), epsilon=epsilon
    )


def test_it_is_what_explain_shows() -> None:
    problem = clouds(20_000, 15_000)
    explained = Auto().explain(problem)
    assert estimated_seconds(problem) == explained.rows[0].capability.cost / 1e9 > 60
    assert estimated_seconds(problem, Simplex()) == estimated_seconds(problem)


def test_nothing_is_asked_where_nothing_takes_long() -> None:
    assert estimated_seconds(clouds(100, 100)) == 0
    assert estimated_seconds(clouds(20_000, 15_000, epsilon=1.0)) == 0
    # What cannot be solved takes no time.
    assert estimated_seconds(clouds(20_000, 15_000), Assignment()) == 0
    assert estimated_seconds(clouds(20_000, 15_000), Sinkhorn()) == 0


def test_couple_warns_before_it_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def solved(self: Simplex, problem: Linear) -> None:
        asked.append(problem)
        raise InterruptedError

    monkeypatch.setattr(Simplex, "_solve", solved)
    cloud = clouds(20_000, 15_000).geometry
    with (
        pytest.warns(DurationWarning, match=r"about \d+ minutes by estimate: give epsilon") as told,
        pytest.raises(InterruptedError),
    ):
        monge.couple(cloud.x, cloud.y)
    assert len(asked) == len(told) == 1

"""Costs by name: ours, a stranger's, and what is no cost."""

from __future__ import annotations

import pytest
import torch

import monge
from monge.errors import InputError
from monge.geometry import COSTS, CostMatrix, PointCloud, cost_between


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for state in ("_held", "_sentences"):
        monkeypatch.setattr(COSTS, state, dict(getattr(COSTS, state)))


@pytest.mark.parametrize("name", list(COSTS))
def test_ours_are_point_clouds(name: str) -> None:
    x, y = torch.rand(4, 3), torch.rand(5, 3)
    made = cost_between(x, y, name)
    assert isinstance(made, PointCloud)
    torch.testing.assert_close(made.dense(), PointCloud(x, y, name).dense())


def test_a_function_stays_a_function() -> None:
    x, y = torch.rand(4, 3), torch.rand(5, 3)
    made = cost_between(x, y, lambda x, y: (x - y).abs().sum(-1))
    torch.testing.assert_close(made.dense(), cost_between(x, y, "cityblock").dense())


def test_a_name_that_is_registered_is_known_to_the_face() -> None:
    COSTS.register("crossed", lambda x, y: CostMatrix(x @ y.mT), "The inner product.")
    x, y = torch.rand(4, 3), torch.rand(5, 3)
    torch.testing.assert_close(
        monge.couple(x, y, cost="crossed", epsilon=0.1).dense(), monge.couple(CostMatrix(x @ y.mT), epsilon=0.1).dense()
    )


def test_wrong_names_and_things_are_told() -> None:
    x = torch.rand(4, 3)
    with pytest.raises(InputError, match=r"cost='euclidian' is unknown: choose one of 'sqeuclidean', 'euclidean'"):
        monge.couple(x, x, cost="euclidian")
    with pytest.raises(InputError, match=r"must be a function \(x, y\) -> Geometry"):
        COSTS.register("three", 3)
    COSTS.register("matrix", torch.cdist, "A tensor, which is no geometry.")
    with pytest.raises(InputError, match=r"cost='matrix' must give a monge\.geometry\.Geometry, but gave Tensor"):
        monge.couple(x, x, cost="matrix")

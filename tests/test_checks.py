"""Numbers that are none, or are not finite, are refused by name on the way into the library."""

from __future__ import annotations

import math

import pytest
import torch

import monge
from monge._checks import check_number
from monge.errors import InputError, TransportError
from monge.geometry import Circle, CostMatrix, Graph, Line, LowRankCost, PointCloud, Sphere, Sum, Tree
from monge.problem import AtMost, Fixed, Linear, Relaxed
from monge.sliced import (
    Balanced,
    circular_wasserstein,
    directions,
    energy_based_sliced_wasserstein,
    partial_cost,
    sliced_embedding,
    sliced_wasserstein,
)
from monge.sliced.plan import soft_sort
from sweep import sweep


@sweep(default=300)
def test_numbers_lie_in_their_interval_and_are_finite(seeds: range) -> None:
    special = [
        math.nan,
        math.inf,
        -math.inf,
        0.0,
        1.0,
        -1.0,
        1e308,
        -1e308,
        5e-324,
        10**400,
        -1e400,
        True,
        "1",
        None,
    ]
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        draws = torch.randn(3, generator=generator, dtype=torch.float64).tolist()
        number = special[seed % len(special)] if seed % 2 else draws[0]
        low = -math.inf if seed % 3 == 0 else min(draws[1:])
        high = math.inf if seed % 5 < 2 else max(draws[1:])
        strict, infinity = bool(seed % 4 == 0), bool(seed % 7 == 0)
        right = (
            isinstance(number, (int, float))
            and not isinstance(number, bool)
            and (
                (infinity and number == math.inf)
                or (low <= number <= high and abs(number) < 1.7976931348623157e308 and not (strict and number == low))
            )
        )
        if right:
            check_number("k", number, low=low, high=high, strict=strict, infinity=infinity)
        else:
            with pytest.raises(InputError, match="k must"):
                check_number("k", number, low=low, high=high, strict=strict, infinity=infinity)


def clouds() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(4, 2, generator=generator) + 0.1 for _ in range(2))
    a, b = torch.full((4,), 0.25), torch.full((4,), 0.25)
    return {"x": x, "y": y, "a": a, "b": b, "cost": torch.rand(4, 4, generator=generator), "theta": torch.eye(2)}


# Each function of clouds, weights, costs or directions, and which of them it reads.
READERS = {
    "couple": (lambda x, y, a, b: monge.couple(x, y, a, b), "xyab"),
    "couple, entropic": (lambda x, y, a, b: monge.couple(x, y, a, b, epsilon=0.5), "xyab"),
    "divergence": (lambda x, y, a, b: monge.divergence(x, y, a, b, epsilon=0.5), "xyab"),
    "wasserstein": (lambda x, y, a, b: monge.wasserstein(x, y, a, b), "xyab"),
    "wasserstein, p=50": (lambda x, y, a, b: monge.wasserstein(x, y, a, b, p=50.0), "xyab"),
    "pairwise": (lambda x, y, a, b: monge.pairwise([(x, a), (y, b)]), "xyab"),
    "barycenter": (lambda x, y, a: monge.barycenter([(x, a), y], size=3), "xya"),
    "sliced": (lambda x, y, a, b, theta: sliced_wasserstein(x, y, a, b, theta=theta), ("x", "y", "a", "b", "theta")),
    "embedding": (lambda x, a, theta: sliced_embedding(x, a, theta=theta), ("x", "a", "theta")),
    "energy": (lambda x, y: energy_based_sliced_wasserstein(x, y, slicer=monge.sliced.Linear(torch.eye(2))), "xy"),
    "circle of slices": (lambda a, b: circular_wasserstein(a, b), "ab"),
    "partial": (lambda a, b: partial_cost(a, b, mass=1), "ab"),
    "PointCloud": (lambda x, y: PointCloud(x, y), "xy"),
    "PointCloud, dot": (lambda x, y: PointCloud(x, y, "dot"), "xy"),
    "Sphere": (lambda x, y: Sphere(x, y), "xy"),
    "Line": (lambda a, b: Line(a, b), "ab"),
    "Circle": (lambda a, b: Circle(a, b), "ab"),
    "LowRankCost": (lambda x, y: LowRankCost(x, y), "xy"),
    "CostMatrix": (lambda cost: CostMatrix(cost), ("cost",)),
    "Sum": (lambda a: Sum((CostMatrix(torch.ones(3, 3)),), (a,)), "a"),
    "Tree": (lambda a: Tree.from_parents(torch.tensor([-1, 0, 0, 1]), a), "a"),
    "Graph": (lambda a: Graph.from_edges(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), a), "a"),
    "Fixed": (lambda a: Fixed(a), "a"),
    "AtMost": (lambda a: AtMost(a), "a"),
    "Relaxed": (lambda a: Relaxed(a, 1.0), "a"),
    "rho": (lambda a: Relaxed(torch.ones(4, 3), a), "a"),
    "epsilon": (lambda a: Linear(CostMatrix(torch.ones(4, 3, 3)), epsilon=a), "a"),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_number_is_refused_wherever_it_stands(reader: str) -> None:
    function, names = READERS[reader]
    for name in names:
        for wrong in (math.nan, math.inf, -math.inf):
            if name == "cost" and wrong == math.inf:
                continue
            size = clouds()[name].numel()
            for place in {0, size - 1, size // 2}:
                given = {other: clouds()[other] for other in names}
                given[name].view(-1)[place] = wrong
                with pytest.raises(TransportError):
                    function(**given)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "function",
    [
        lambda k: monge.wasserstein(torch.zeros(2, 1), torch.ones(2, 1), p=k),
        lambda k: monge.pairwise([torch.zeros(2, 1), torch.ones(2, 1)], p=k),
        lambda k: monge.couple(torch.zeros(2, 1), torch.ones(2, 1), epsilon=k),
        lambda k: Relaxed(torch.ones(2), k),
        lambda k: monge.couple(torch.zeros(2, 1), torch.ones(2, 1), mass=k),
        lambda k: monge.relative(k),
        lambda k: PointCloud(torch.zeros(2, 1), torch.ones(2, 1), "euclidean", power=k),
        lambda k: Line(torch.zeros(2), torch.ones(2), p=k),
        lambda k: Circle(torch.zeros(2), torch.ones(2), circumference=k),
        lambda k: Sum((CostMatrix(torch.ones(2, 2)),), (k,)),
        lambda k: Balanced(k),
        lambda k: sliced_wasserstein(torch.zeros(2, 1), torch.ones(2, 1), p=k, theta=directions(2, 1)),
        lambda k: soft_sort(torch.ones(2), k),
        lambda k: soft_sort(torch.ones(2), 1.0, power=k),
        lambda k: monge.solver.Sinkhorn(tol=k),
        lambda k: monge.solver.Sinkhorn(max_iter=k),
    ],
)
def test_parameters_are_finite(function, wrong: float) -> None:
    with pytest.raises(TransportError):
        function(wrong)


def test_infinity_where_it_has_a_meaning() -> None:
    x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    assert float(PointCloud(x, y, "minkowski", math.inf).dense()) == 4
    assert monge.sliced.Sliced(inverse_temperature=math.inf).inverse_temperature == math.inf

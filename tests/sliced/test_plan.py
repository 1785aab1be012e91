"""Plans from slices: exact marginals, the orders between costs, ties, golden values."""

import itertools

import pytest
import torch

from monge.coupling import DenseCoupling, PermutationCoupling
from monge.geometry import PointCloud
from monge.sliced import Linear, best_sliced_plan, directions, expected_sliced_plan
from monge.sliced.plan import lifted_plans, monotone_plan
from monge.sliced.plan.lift import slice_costs


def exact_cost(x, y):
    cost = torch.cdist(x, y).square()
    return min(sum(cost[i, p[i]] for i in range(len(x))) / len(x) for p in itertools.permutations(range(len(y))))


def test_golden_values():
    x = torch.tensor([[3.0, 3.0], [1.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([[2.0, 2.5], [3.0, 2.0]], dtype=torch.float64)
    slicer = Linear(torch.eye(2, dtype=torch.float64))
    costs = slice_costs(lifted_plans(x, y, slicer=slicer), PointCloud(x, y))
    torch.testing.assert_close(costs, torch.tensor([2.125, 3.125], dtype=torch.float64))
    mean = expected_sliced_plan(x, y, slicer=slicer)
    torch.testing.assert_close(mean.dense(), torch.full((2, 2), 0.25, dtype=torch.float64))
    assert mean.transport_cost(PointCloud(x, y)).item() == pytest.approx(2.625)
    assert best_sliced_plan(x, y, slicer=slicer).transport_cost(PointCloud(x, y)).item() == pytest.approx(2.125)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("n", "m", "weighted"), [(6, 6, False), (6, 6, True), (5, 9, False), (5, 9, True), (1, 4, True)]
)
def test_marginals_are_exact(n, m, weighted, ties):
    generator = torch.Generator().manual_seed(n * m)
    x, y = (torch.randn(k, 3, generator=generator, dtype=torch.float64) for k in (n, m))
    if ties:
        x, y = x.round(), y.round()
    a, b = (torch.rand(k, generator=generator, dtype=torch.float64) if weighted else None for k in (n, m))
    if weighted:
        a, b = a / a.sum(), b / b.sum()
    slicer = Linear(torch.eye(3, dtype=torch.float64))
    plan = expected_sliced_plan(x, y, a, b, slicer=slicer, inverse_temperature=2.0)
    row, col = plan.marginals()
    torch.testing.assert_close(row, torch.full_like(row, 1 / n) if a is None else a, rtol=0, atol=1e-12)
    torch.testing.assert_close(col, torch.full_like(col, 1 / m) if b is None else b, rtol=0, atol=1e-12)
    dense = DenseCoupling(plan.dense())
    values = torch.randn(m, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(plan @ values, dense @ values)


def test_costs_are_ordered(clouds):
    x, y = clouds(3, 7, 7)
    slicer = Linear(directions(30, 3, generator=torch.Generator().manual_seed(0), dtype=x.dtype))
    geometry = PointCloud(x, y)
    costs = [
        expected_sliced_plan(x, y, slicer=slicer, inverse_temperature=t).transport_cost(geometry)
        for t in (0.0, 1.0, 10.0, 100.0)
    ]
    best = best_sliced_plan(x, y, slicer=slicer).transport_cost(geometry)
    ordered = [exact_cost(x, y), best, *reversed(costs)]
    assert all(first <= second + 1e-12 for first, second in itertools.pairwise(ordered))


def test_on_a_line_every_slice_is_optimal():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(7, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    plan = expected_sliced_plan(x, y, slicer=Linear(torch.tensor([[1.0], [-1.0]], dtype=torch.float64)))
    torch.testing.assert_close(plan.transport_cost(PointCloud(x, y)), exact_cost(x, y))


def test_the_direction_of_a_line_is_the_best_slice(clouds):
    x, _ = clouds(3, 7, 7)
    direction = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -1.0], dtype=x.dtype), dim=0)
    y = torch.linspace(-1, 2, 7, dtype=x.dtype)[:, None] * direction
    plan = best_sliced_plan(x, y, slicer=Linear(direction[None]))
    torch.testing.assert_close(plan.transport_cost(PointCloud(x, y)), exact_cost(x, y))


def test_ties_do_not_depend_on_the_order_of_points():
    u = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    v = torch.tensor([2.0, 2.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(monotone_plan(u, v).dense(), torch.full((3, 3), 1 / 9, dtype=torch.float64))
    ordered = monotone_plan(u, v, ties="order")
    assert isinstance(ordered, PermutationCoupling)
    shuffle = torch.tensor([2, 0, 1])
    torch.testing.assert_close(monotone_plan(u[shuffle], v).dense(), monotone_plan(u, v).dense()[shuffle])


def test_only_the_order_of_scores_counts():
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(5, generator=generator), torch.randn(8, generator=generator)
    torch.testing.assert_close(monotone_plan(u.exp(), v.tanh()).dense(), monotone_plan(u, v).dense())


def test_the_plan_is_differentiable_through_its_weights(clouds):
    x, y = clouds(2, 5, 5)
    slicer = Linear(directions(6, 2, generator=torch.Generator().manual_seed(1), dtype=x.dtype))

    def moved(x, y):
        return expected_sliced_plan(x, y, slicer=slicer, inverse_temperature=3.0).barycentric(y)

    assert torch.autograd.gradcheck(moved, (x.requires_grad_(), y.requires_grad_()))


def test_many_slices_apply_without_a_matrix():
    generator = torch.Generator().manual_seed(0)
    n = 5000
    x, y = torch.randn(n, 3, generator=generator), torch.randn(n, 3, generator=generator)
    plan = expected_sliced_plan(x, y, slicer=Linear(directions(64, 3, generator=generator)))
    torch.testing.assert_close(plan.barycentric(torch.ones(n, 1)), torch.ones(n, 1))


def test_half_precision_loses_no_atom():
    u, v = torch.linspace(-1, 1, 3000).half(), torch.linspace(-1, 1, 5000).half()
    plan = monotone_plan(u, v, ties="order")
    assert plan.dtype == torch.half
    row, col = plan.to(torch.float64).marginals()
    torch.testing.assert_close(row, torch.full_like(row, 1 / 3000), rtol=2e-3, atol=0)
    torch.testing.assert_close(col, torch.full_like(col, 1 / 5000), rtol=2e-3, atol=0)

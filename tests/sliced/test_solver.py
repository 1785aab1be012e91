"""The sliced solver: feasible, bounded from below, known to the router."""

import math

import pytest
import torch

import monge
from draws import cloud
from monge.errors import CapabilityError
from monge.geometry import PointCloud
from monge.problem import Linear
from monge.sliced import Sliced
from monge.solver import Auto, Status


@pytest.mark.parametrize("tau", [0.0, 5.0, math.inf])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
def test_the_gap_is_a_guarantee(tau, weighted, cost):
    x, y = cloud(20, 3, 0), cloud(20, 3, 1) + 0.5
    a, b = (torch.rand(20, generator=torch.Generator().manual_seed(k), dtype=x.dtype) + 0.1 for k in (2, 3))
    sides = (a, b * (a.sum() / b.sum())) if weighted else (None, None)
    problem = Linear(PointCloud(x, y, cost), *sides)
    exact = monge.solve(problem).value
    found = monge.solve(problem, Sliced(inverse_temperature=tau))
    assert found.report.status is Status.APPROXIMATE
    assert found.report.marginal_error < 1e-12
    assert exact <= found.value + 1e-12
    assert found.value - found.report.duality_gap <= exact + 1e-12
    torch.testing.assert_close(found.value, found.coupling.transport_cost(problem.geometry))


def test_batches_and_gradients():
    x, y = torch.stack([cloud(6, 2, 0), cloud(6, 2, 1)]), cloud(6, 2, 2)
    together = monge.solve(Linear(PointCloud(x, y)), Sliced(inverse_temperature=1.0))
    for k in range(2):
        one = monge.solve(Linear(PointCloud(x[k], y)), Sliced(inverse_temperature=1.0))
        torch.testing.assert_close(together.value[k], one.value)
        torch.testing.assert_close(together.report.duality_gap[k], one.report.duality_gap)

    def value(x, y):
        return monge.solve(Linear(PointCloud(x, y)), Sliced(8, inverse_temperature=2.0)).value

    assert torch.autograd.gradcheck(value, (x[0].requires_grad_(), y.requires_grad_()))


def test_the_router_lists_it_but_never_chooses_it():
    problem = Linear(PointCloud(cloud(9, 2, 0), cloud(8, 2, 1)))
    table = monge.explain(problem)
    (line,) = (line for line in str(table).splitlines() if line.startswith("Sliced"))
    assert "abstains" in line
    assert "approximate" in line
    assert not isinstance(table.chosen, Sliced)
    kinds = [type(row.solver).__name__ for row in table.rows]
    assert kinds.index("Sliced") == sum(
        row.capability.cost < math.inf for row in table.rows
    )  # before those that cannot
    assert Auto(candidates=(Sliced(),)).explain(problem).chosen is None
    assert "cannot" in str(monge.explain(Linear(problem.geometry, epsilon=0.1))).split("Sliced", 1)[1]
    assert monge.couple(cloud(9, 2, 0), cloud(8, 2, 1), solver=Sliced()).shape == (9, 8)
    with pytest.raises(CapabilityError, match="epsilon=0"):
        monge.couple(cloud(5, 2, 0), cloud(5, 2, 1), epsilon=0.1, solver=Sliced())

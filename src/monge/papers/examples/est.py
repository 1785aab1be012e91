"""Expected sliced transport: a plan in space that is the mean of plans on lines, the cheaper ones weighing more.

The plan of each slice is lifted back to the points, and has a cost D in space. The mean has weights softmax(-tau D):
for tau = 0 its cost is a metric, and as tau grows it falls to the cost of the best slice. Marginals are exact.
"""

import torch

import monge
from monge.geometry import PointCloud
from monge.sliced import LinearSlicer, best_sliced_plan, directions, expected_sliced_plan

# Two slices of cost 2.125 and 3.125: their mean costs 2.625, the best 2.125.
x = torch.tensor([[3.0, 3.0], [1.0, 1.0]], dtype=torch.float64)
y = torch.tensor([[2.0, 2.5], [3.0, 2.0]], dtype=torch.float64)
slicer = LinearSlicer(torch.eye(2, dtype=torch.float64))
mean = expected_sliced_plan(x, y, slicer=slicer)
torch.testing.assert_close(mean.dense(), torch.full((2, 2), 0.25, dtype=torch.float64))
assert abs(mean.transport_cost(PointCloud(x, y)) - 2.625) < 1e-12
assert abs(best_sliced_plan(x, y, slicer=slicer).transport_cost(PointCloud(x, y)) - 2.125) < 1e-12

# W_2^2 <= best slice <= EST, which falls as tau grows; marginals to the last digits.
generator = torch.Generator().manual_seed(0)
x, y = torch.randn(2, 100, 3, generator=generator, dtype=torch.float64)
slicer, space = LinearSlicer(directions(60, 3, generator=generator, dtype=torch.float64)), PointCloud(x, y)
costs = []
for tau in (0.0, 2.0, 10.0, 50.0):
    plan = expected_sliced_plan(x, y, slicer=slicer, inverse_temperature=tau)
    for marginal in plan.marginals():
        assert (marginal - 1 / 100).abs().max() < 1e-12
    costs.append(plan.transport_cost(space).item())
exact = monge.couple(x, y).transport_cost().item()
best = best_sliced_plan(x, y, slicer=slicer).transport_cost(space).item()
assert exact <= best <= costs[3] <= costs[2] <= costs[1] <= costs[0]

print(
    f"Exact {exact:.2f}, best slice {best:.2f}, expected {', '.join(f'{cost:.2f}' for cost in costs)} for growing tau."
)

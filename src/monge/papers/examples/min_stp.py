"""Min-STP: a learned score of points whose order couples two clouds, and which other pairs can use again.

Any score gives a plan with exact marginals, by two sorts: it costs at least the optimum, and only the order of the
scores counts. Training lowers the cost through soft permutations. A score that was trained on one pair is a good start
for a similar pair, before any step.
"""

import math

import torch

import monge
from monge.geometry import PointCloud
from monge.sliced.plan import TransferableSlicer, monotone_plan

torch.manual_seed(0)


def shapes(turn):
    """Eight Gaussians on a circle, and two moons that are turned."""
    corner, arc = torch.randint(8, (96,)) * torch.pi / 4, torch.rand(96) * torch.pi
    x = 2 * torch.stack([corner.cos(), corner.sin()], -1) + 0.15 * torch.randn(96, 2)
    side = torch.randint(2, (96,))
    y = torch.stack([arc.cos() * (1 - 2 * side) + side, arc.sin() * (1 - 2 * side) + 0.5 * side], -1)
    y = 0.6 * (y - y.mean(0)) @ torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return x, y + 0.05 * torch.randn(96, 2)


def cost(slicer, x, y):
    return slicer.couple(x, y).transport_cost(PointCloud(x, y, "euclidean")).item()


first, second = shapes(0.0), shapes(0.26)
exact = [monge.couple(x, y, cost="euclidean").transport_cost().item() for x, y in (first, second)]
slicer = TransferableSlicer(dimension=2, cost="euclidean")
untrained = [cost(slicer, *clouds) for clouds in (first, second)]
slicer.fit(*first, steps=120, learning_rate=3e-2)
trained, transferred = cost(slicer, *first), cost(slicer, *second)

assert exact[0] - 1e-5 <= trained < 1.05 * exact[0]
assert exact[1] - 1e-5 <= transferred < untrained[1]

# The plan is the monotone one of the scores, of which only the order counts.
plan, (u, v) = slicer.couple(*second), (slicer(cloud) for cloud in second)
torch.testing.assert_close(plan.dense(), monotone_plan(u.exp(), v.exp()).dense())
for marginal in plan.marginals():
    torch.testing.assert_close(marginal, torch.full((96,), 1 / 96))

print(f"First pair: exact {exact[0]:.2f}, untrained {untrained[0]:.2f}, trained {trained:.2f}.")
print(f"Second pair: exact {exact[1]:.2f}, untrained {untrained[1]:.2f}, without a step {transferred:.2f}.")

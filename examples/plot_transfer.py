"""
A learned slicer for the next problem
=====================================

Both clouds are sorted by a scalar function of their points, and points of equal rank are partners. If the function was
trained on one pair of clouds, it is nearly as good on a similar pair without any further step, because similar problems
have similar optimal slicers.
"""

# %%
# There are seven tasks. In each, eight Gaussians are moved to two moons. From task to task, the moons turn by 15
# degrees and become larger.
import math

import matplotlib.pyplot as plt
import torch

import monge
from monge.geometry import PointCloud
from monge.sliced.plan import TransferableSlicer

generator = torch.Generator().manual_seed(0)
n = 128
corner = torch.randint(8, (n,), generator=generator) * (math.pi / 4)
x = 5 * torch.stack([corner.cos(), corner.sin()], -1) + 0.3 * torch.randn(n, 2, generator=generator)
arc, side = math.pi * torch.rand(n, generator=generator), torch.randint(2, (n,), generator=generator)
moons = torch.stack([(1 - 2 * side) * arc.cos() + side - 0.5, (1 - 2 * side) * arc.sin() + 0.5 * side - 0.25], -1)
moons = moons + 0.2 * torch.randn(n, 2, generator=generator)


def task(k):
    angle = math.pi / 12 * k
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (1.5 + 0.1 * k) * moons @ turn.T


def fresh(seed):
    torch.manual_seed(seed)
    return TransferableSlicer(dimension=2, cost="euclidean")


def cost(slicer, y):
    return slicer.couple(x, y).transport_cost(PointCloud(x, y, "euclidean")).item()


# %%
# One slicer is used for all tasks, one after the other. The table shows its cost on a new task before and after
# training there, the cost of a slicer that was not trained, and the optimal cost.
travelling = fresh(0)
rows = []
for k in range(7):
    y = task(k)
    arrival = cost(travelling, y)
    travelling.fit(x, y, steps=150 if k == 0 else 60, learning_rate=3e-2)
    exact = monge.solve(monge.Linear(PointCloud(x, y, "euclidean"))).value.item()
    rows.append((cost(fresh(10 + k), y), arrival, cost(travelling, y), exact))
    print("task {}: untrained {:.3f}, on arrival {:.3f}, trained {:.3f}, optimal {:.3f}".format(k, *rows[-1]))

# %%
# The left picture shows the plan of the last task, after training. The right picture shows the costs of all tasks.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(1, 1.3))
plan = travelling.couple(x, y)
for source, target in zip(x, y[plan.assignment()], strict=True):
    left.plot(*torch.stack([source, target]).T, color="0.75", lw=0.6)
left.scatter(*x.T, s=9, color="tab:blue", zorder=3)
left.scatter(*y.T, s=9, color="tab:orange", zorder=3)
left.set_aspect("equal")
left.axis("off")
left.set_title("two sorts, after training")
labels = ("untrained", "on arrival", "after training", "optimal")
for label, values, style in zip(labels, zip(*rows, strict=True), ("^:", "o-", "s-", "k--"), strict=True):
    right.plot(values, style, label=label)
right.set_xlabel("task")
right.set_ylabel("mean distance moved")
right.legend()
figure.tight_layout()

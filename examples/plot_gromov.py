"""
Matching shapes in different spaces
===================================

If two clouds lie in different spaces, there is a distance between two points of one cloud, but none between points of
different clouds. A network learns a score for every point. Both clouds are sorted by their scores, and points of equal
rank are partners. The scores are trained so that this changes the distances within the clouds as little as possible.
"""

# %%
# The shapes have three arms of different lengths. They are flat in one pose, and bent in three dimensions in the other.
# Distances are measured along the arms, so that bending does not change them. Every pose has its own sample of points.
import math
import time

import matplotlib.pyplot as plt
import torch

from monge.coupling import ProductCoupling
from monge.geometry import CostMatrix
from monge.sliced import gromov_cost
from monge.sliced.gromov import GromovSlicer, distance_profiles
from monge.sliced.plan import sine_network

generator = torch.Generator().manual_seed(0)


def pose(lengths, bend, n=160):
    share = lengths / lengths.sum()
    level = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    ends = share.cumsum(0)
    arm = torch.searchsorted(ends, level).clamp(max=2)
    place = lengths[arm] * (1 - (ends[arm] - level) / share[arm])
    same = arm[:, None] == arm
    along = torch.where(same, (place[:, None] - place).abs(), place[:, None] + place)
    start = 2 * math.pi * arm / 3 + 0.3
    angle = start + bend * place  # an arm that bends is a spiral
    points = torch.stack([place * angle.cos(), place * angle.sin(), bend * 0.5 * place.square() * (arm - 1)], -1)
    return points + 0.02 * torch.randn(n, 3, generator=generator), CostMatrix(along), arm


def shapes(count):
    lengths = [torch.tensor([0.6, 1.1, 1.8]) + 0.3 * torch.rand(3, generator=generator) for _ in range(count)]
    return [(pose(length, 0.0), pose(length, 1.2)) for length in lengths]


# %%
# For every point, the network sees the quantiles of its distances to the others, which do not change when the shape
# moves. It is trained on pairs of poses of eight shapes. A ninth shape then takes one pass of the network and two
# sorts.
train, test = shapes(8), shapes(1)[0]


def inputs(pair):
    spaces = tuple(space for _, space, _ in pair)
    return tuple(distance_profiles(space) for space in spaces), spaces


pairs, spaces = zip(*map(inputs, train), strict=True)
torch.manual_seed(0)
slicer = GromovSlicer(sine_network(16))
slicer.fit_pairs(pairs, spaces=spaces, steps=400, learning_rate=1e-2, scale=0.5, generator=generator)

profiles, held = inputs(test)
began = time.perf_counter()
plan = slicer.couple(*profiles)
took = time.perf_counter() - began
uniform = torch.full((160,), 1 / 160)
worst = gromov_cost(ProductCoupling(uniform, uniform), *held)
partner = plan.assignment()
right = (test[0][2] == test[1][2][partner]).float().mean()
print(f"loss {gromov_cost(plan, *held).item():.4f}, of independence {worst.item():.4f}; {1000 * took:.1f} ms")
print(f"{100 * right.item():.0f} % of the points find the right arm")

# %%
# The colours show the arms of the flat pose; the plan carries them to the points of the bent pose.
figure = plt.figure(figsize=(9, 4))
colours = torch.empty_like(test[0][2])
colours[partner] = test[0][2]
for k, (title, (points, _, _), colour) in enumerate(
    (("a shape, flat", test[0], test[0][2]), ("its other pose, colours carried over", test[1], colours))
):
    axis = figure.add_subplot(1, 2, k + 1, projection="3d")
    axis.scatter(*points.T, c=colour, cmap="tab10", vmin=0, vmax=9, s=14, depthshade=False)
    axis.set_title(title)
    axis.set_axis_off()
    axis.set_aspect("equal")
    axis.view_init(60, -60)
figure.tight_layout()

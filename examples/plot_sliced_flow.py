"""
A cloud flows along slices
==========================

The sliced Wasserstein distance needs two sorts for each direction. Its gradient moves every point towards the points
that have the same rank, averaged over all directions. Steps along this gradient turn one shape into another.
"""

# %%
# One pass computes the value and the gradient, in memory that does not grow with the number of slices. So it costs
# little to draw new directions at every step.
import math

import matplotlib.pyplot as plt
import torch

from monge.sliced import sliced_wasserstein

generator = torch.Generator().manual_seed(0)
turn = 2 * math.pi * torch.rand(1500, generator=generator)
start = torch.stack([turn.cos(), turn.sin()], -1) + 0.05 * torch.randn(1500, 2, generator=generator)
time = 3 * math.pi * torch.rand(1500, generator=generator).sqrt()
spiral = 0.22 * time[:, None] * torch.stack([time.cos(), time.sin()], -1)
spiral = spiral + 0.03 * torch.randn(1500, 2, generator=generator)

x = start.clone().requires_grad_()
shown = {0: x.detach().clone()}
costs = []
for step in range(1, 61):
    found = sliced_wasserstein(x, spiral, slices=32, generator=generator)
    (gradient,) = torch.autograd.grad(found.cost, x)
    with torch.no_grad():
        x -= 0.8 * len(x) * gradient
    costs.append(found.distance.item())
    if step in (3, 10, 60):
        shown[step] = x.detach().clone()

# %%
# Every panel shows the same 1500 points. The colour of a point shows where it started.
colour = torch.atan2(start[:, 1], start[:, 0])
figure, axes = plt.subplots(1, 4, figsize=(11, 3), sharex=True, sharey=True)
for axis, (step, points) in zip(axes, shown.items(), strict=True):
    axis.scatter(*spiral.T, s=2, color="0.85")
    axis.scatter(*points.T, s=3, c=colour, cmap="twilight")
    axis.set_title(f"step {step}")
    axis.set_aspect("equal")
    axis.axis("off")
figure.tight_layout()

# %%
# The distance that is left, with the standard error of an estimate from thirty-two directions.
figure, axis = plt.subplots(figsize=(5, 2.6))
axis.semilogy(costs)
axis.set_xlabel("step")
axis.set_ylabel("sliced $W_2$")
figure.tight_layout()
print(f"{found.cost.item():.2e} +- {found.standard_error.item():.0e}")

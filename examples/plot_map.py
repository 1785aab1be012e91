"""
Where a new point goes
======================

A plan moves the points that it was computed for. Its map, ``P.map(points)``, moves all other points too. In this
example the points are samples of two Gaussians, so that the true map is known. It is affine, and turns a square grid
into a grid of parallelograms.
"""

import matplotlib.pyplot as plt
import torch

import monge
from monge.geometry import PointCloud

generator = torch.Generator().manual_seed(0)
matrix, shift = torch.tensor([[1.2, 0.5], [0.5, 0.9]]), torch.tensor([5.0, 0.0])


def truth(points):
    return points @ matrix + shift


n = 600
x = torch.randn(n, 2, generator=generator)
y = truth(torch.randn(n, 2, generator=generator))

# %%
# There are three maps of the same two samples. An entropic plan sends a new point to a mean of the target points, with
# weights that follow from its potentials. With an exact plan, a new point moves as the nearest source point does, or it
# goes to the target point in whose cell it lies, which is Brenier's map.

entropic = monge.couple(x, y, epsilon=0.1)
exact = monge.solve(monge.Linear(PointCloud(x, y)))
maps = {
    "barycentric": entropic.map,
    "nearest": lambda points: exact.map(points, method="nearest"),
    "brenier": lambda points: exact.map(points, method="brenier"),
}

# %%
# The pictures show where the maps send the points of a grid that they have not seen. The true map is drawn in grey.

new = torch.randn(4000, 2, generator=generator)
fine = torch.linspace(-1.5, 1.5, 161)
upright = [torch.stack([torch.full_like(fine, k), fine], -1) for k in torch.linspace(-1.5, 1.5, 6)]
lines = [("tab:blue", line) for line in upright] + [("tab:red", line.flip(-1)) for line in upright]

figure, axes = plt.subplots(2, 2, figsize=(9, 7.5))
first, *others = axes.flat
first.set_title("two samples, and a grid")
first.scatter(*x.T, s=4, color="0.75")
first.scatter(*y.T, s=4, color="tab:orange")
for colour, line in lines:
    first.plot(*line.T, color=colour, lw=1)
for axis, (name, moved) in zip(others, maps.items(), strict=True):
    error = (moved(new) - truth(new)).square().sum(-1).mean().sqrt()
    print(f"{name}: the error at 4000 new points is {error:.3f}")
    axis.scatter(*y.T, s=4, color="tab:orange", alpha=0.4)
    for colour, line in lines:
        axis.plot(*truth(line).T, color="0.75", lw=2.5)
        axis.plot(*moved(line).T, color=colour, lw=1)
    axis.set_title(f"{name}, error {error:.2f}")
    axis.set_xlim(1, 9)
    axis.set_ylim(-3, 3)
for axis in axes.flat:
    axis.set_aspect("equal")
    axis.axis("off")
figure.tight_layout()

# %%
# The map of ``P.T`` goes in the other direction. Both maps of an entropic plan are means, and a mean lies further
# inside than the points that it is made of. So a point that goes there and back does not return to its place exactly.
# This error becomes smaller with epsilon.

for epsilon in (4.0, 1.0, 0.25, 0.0625):
    P = monge.couple(x, y, epsilon=epsilon)
    apart = (P.T.map(P.map(new)) - new).square().sum(-1).mean().sqrt()
    print(f"epsilon = {epsilon}: there and back misses by {apart:.3f}")

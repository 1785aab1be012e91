"""
Clouds on the sphere
====================

Great circles slice the sphere, and transport on each of them is exact. Here points on the sphere flow to a mixture of
three caps, by the gradient of the spherical sliced distance, each step followed by a projection on the sphere.
"""

# %%
import matplotlib.pyplot as plt
import torch

from monge.sliced import spherical_sliced_wasserstein

generator = torch.Generator().manual_seed(0)


def on_sphere(points):
    return torch.nn.functional.normalize(points, dim=-1)


poles = on_sphere(torch.tensor([[1.0, 0.3, 0.9], [-0.6, 1.0, 0.2], [-0.3, -1.0, 0.5]]))
target = on_sphere(poles.repeat_interleave(250, 0) + 0.18 * torch.randn(750, 3, generator=generator))
start = on_sphere(torch.randn(750, 3, generator=generator))


def flow(family, steps=80, size=250.0):
    x = start.clone()
    for _ in range(steps):
        leaf = x.requires_grad_()
        cost = spherical_sliced_wasserstein(leaf, target, family=family, slices=40, generator=generator).cost
        (slope,) = torch.autograd.grad(cost, leaf)
        x = on_sphere(leaf.detach() - size * slope)
    return x


# %%
# Three ways to slice, one interface: exact transport on great circles, its linear version, and lines of a stereographic
# map with a pole of its own for every slice.
ends = {
    "start": start,
    "great circles": flow("great-circles", size=3000.0),
    "linear": flow("linear", size=3000.0),
    "stereographic": flow("stereographic", size=1200.0),
}
figure = plt.figure(figsize=(11, 3.2))
for k, (name, points) in enumerate(ends.items()):
    axis = figure.add_subplot(1, 4, k + 1, projection="3d")
    axis.scatter(*target.T, s=2, color="0.8")
    axis.scatter(*points.detach().T, s=4, c=start[:, 2], cmap="viridis")
    axis.set_title(name)
    axis.set_axis_off()
    axis.set_box_aspect((1, 1, 1))
    axis.view_init(35, 60)
figure.tight_layout()

# %%
# The distance to the target before and after, on one shared set of frames.
for name, points in ends.items():
    shared = torch.Generator().manual_seed(7)
    cost = spherical_sliced_wasserstein(points, target, slices=200, generator=shared).distance
    print(f"{name:>14}: {cost.item():.4f} turns")

"""
Clouds on the sphere
====================

The slices of a sphere are its great circles, and transport on each of them is exact. In this example, points on the
sphere move to a mixture of three caps, along the gradient of the spherical sliced distance. After every step they are
projected back to the sphere.
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
        (gradient,) = torch.autograd.grad(cost, leaf)
        x = on_sphere(leaf.detach() - size * gradient)
    return x


# %%
# Three ways to slice a sphere have the same interface: exact transport on great circles, a linear version of it, and
# lines of a stereographic projection, in which every slice has its own pole.
ends = {
    "start": start,
    "target": target,
    "great circles": flow("great-circles", size=3000.0),
    "linear": flow("linear", size=3000.0),
    "stereographic": flow("stereographic", size=1200.0),
}
around, up = torch.meshgrid(torch.linspace(0, 2 * torch.pi, 25), torch.linspace(0, torch.pi, 13), indexing="ij")
grid = (around.cos() * up.sin(), around.sin() * up.sin(), up.cos())
view = on_sphere(torch.tensor([-0.087, 0.15, 0.985]))
figure = plt.figure(figsize=(12, 2.7))
for k, (name, points) in enumerate(ends.items()):
    axis = figure.add_subplot(1, 5, k + 1, projection="3d")
    axis.plot_wireframe(*(side.numpy() for side in grid), color="0.9", lw=0.4)
    front = points.detach() @ view > 0  # a sphere hides its back
    colour = "0.3" if name == "target" else start[front, 2]
    axis.scatter(
        *points.detach()[front].T, s=5, lw=0, c=colour, depthshade=False, cmap=None if name == "target" else "viridis"
    )
    axis.set_title(name)
    axis.set_axis_off()
    axis.set_box_aspect((1, 1, 1), zoom=1.5)
    axis.view_init(80, 120)
figure.tight_layout()

# %%
# The distance to the target before and after, measured on the same great circles.
for name, points in ends.items():
    shared = torch.Generator().manual_seed(7)
    cost = spherical_sliced_wasserstein(points, target, slices=200, generator=shared).distance
    print(f"{name:>14}: {cost.item():.4f} turns")

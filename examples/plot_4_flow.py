"""
A cloud flows to another one
============================

The debiased Sinkhorn divergence is a smooth loss between clouds, which is zero if the clouds are equal and only then.
Steps along its gradient move one cloud onto the other. The gradient is exact, by the implicit function theorem, and
needs no matrix.
"""

import torch
from matplotlib import pyplot

import monge
from monge.data import gaussian, rings

generator = torch.Generator().manual_seed(0)
x = gaussian(300, scale=0.3, generator=generator)
y = rings(300, radii=(0.6, 1.4), noise=0.02, generator=generator)

snapshots, losses = [x.clone()], []
for step in range(24):
    leaf = x.clone().requires_grad_()
    loss = monge.divergence(leaf, y, epsilon=0.02)
    (gradient,) = torch.autograd.grad(loss, leaf)
    # A point's share of the loss is 1/n: n/2 times the gradient is a full step of the flow.
    x = x - 0.35 * len(x) / 2 * gradient
    losses.append(loss.item())
    if step in (2, 7, 23):
        snapshots.append(x)

figure, panels = pyplot.subplots(1, 5, figsize=(17, 3.6), layout="constrained")
for panel, cloud, step in zip(panels, snapshots, (0, 3, 8, 24), strict=False):
    panel.scatter(*y.T, s=5, color="#e76f51", alpha=0.35, linewidths=0)
    panel.scatter(*cloud.T, s=9, color="#2a6f97", linewidths=0)
    panel.set(title=f"step {step}", xticks=[], yticks=[], aspect="equal")
panels[-1].semilogy(losses, color="#22223b")
panels[-1].set(title="divergence", xlabel="step")

# %%
# The divergence of the last cloud is small. What is left comes from the random sample, not from a bias of the loss.
print(f"{losses[0]:.3f} at the start, {losses[-1]:.5f} at the end")

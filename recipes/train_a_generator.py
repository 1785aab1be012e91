"""
Train a generator with a transport loss
=======================================

A network turns noise into samples, and should draw from the same distribution as the data. A transport loss compares a
batch of samples with a batch of data, as two clouds of points. It needs no second network that judges, and it tells the
network where to go even where the clouds do not overlap.
"""

import torch

import monge
from monge.data import gaussian, rings
from monge.loss import SinkhornLoss

generator = torch.Generator().manual_seed(0)
torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2)
)


def data(count):
    """Points on two rings."""
    return rings(count, radii=(0.6, 1.4), noise=0.02, generator=generator)


# %%
# This is the recipe: a usual training loop, with a loss between clouds. ``epsilon`` is the strength of the entropy in
# squared units of the data. The loss is debiased, so that it is zero only between equal clouds.

loss = SinkhornLoss(epsilon=0.2)
optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
values = []
for _ in range(100):
    value = loss(network(gaussian(256, generator=generator)), data(256))
    optimiser.zero_grad()
    value.backward()
    optimiser.step()
    values.append(value.item())

# %%
# The picture shows data, samples, and the loss.

from matplotlib import pyplot

with torch.no_grad():
    samples = network(gaussian(1000, generator=generator))
fresh = data(1000)
figure, panels = pyplot.subplots(1, 3, figsize=(12, 4), layout="constrained")
for panel, points, title, colour in zip(
    panels, (fresh, samples), ("data", "samples"), ("#e5594a", "#2a6f97"), strict=False
):
    panel.scatter(*points.T, s=5, color=colour, linewidths=0)
    panel.set(title=title, aspect="equal", xlim=(-1.8, 1.8), ylim=(-1.8, 1.8), xticks=[], yticks=[])
panels[2].semilogy(values, color="#22223b")
panels[2].set(title="loss", xlabel="step")

# %%
# How far are the samples from the data? The last line is the distance of two samples of the data, below which no
# network comes.

print(f"noise to data: {monge.wasserstein(gaussian(1000, generator=generator), fresh):.3f}")
print(f"samples to data: {monge.wasserstein(samples, fresh):.3f}")
print(f"data to data: {monge.wasserstein(data(1000), fresh):.3f}")

# %%
# The same task with GeomLoss
# ---------------------------
#
# The table is for 50 steps. GeomLoss lowers epsilon on a fixed schedule and does not measure how far it has come, so
# the table has the error of the first gradient, beside one that was computed to ten digits. GeomLoss is faster here,
# and faster still at its default, ``scaling=0.5``, where its gradient is off by more. For a small network and noisy
# batches, such a gradient may be good enough.
#
# .. literalinclude:: ../../benchmarks/recipes/train_a_generator.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-train_a_generator.rst
#
# What can go wrong
# -----------------
#
# A batch is a sample, so the loss between two batches of the same data is not zero; larger batches have a smaller
# floor. In many dimensions the floor is high, and :class:`monge.loss.SlicedLoss` is a cheaper choice. A very small
# ``epsilon`` takes many iterations, and a large one compares little more than the means: :doc:`/epsilon` says how to
# choose. For a bound on the time of a step, give ``solver=monge.solver.Sinkhorn(tol=1e-2)``.

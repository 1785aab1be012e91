"""
Pair noise and data in a training loop
======================================

Flow matching trains a network to move noise to data along straight lines. If the pairs are random, the lines cross,
and the network learns curved paths. Pairs of an optimal plan do not cross: the paths are nearly straight, and a few
steps draw better samples than without the plan.
"""

import torch

import monge
from monge.data import gaussian, moons


def batches(count, generator):
    """Batches of noise and data, as a ``DataLoader`` has them."""
    for _ in range(count):
        yield gaussian(128, generator=generator), 2 * moons(128, generator=generator)


def network():
    """A velocity for a place and a time."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2)]
    return torch.nn.Sequential(*layers)


def step(model, optimiser, noise, data, generator):
    """One step of flow matching."""
    time = torch.rand(len(noise), 1, generator=generator)
    loss = (model(torch.cat([(1 - time) * noise + time * data, time], 1)) - (data - noise)).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


# %%
# This is the recipe: two lines of a usual training loop change. Another thread computes the plans of the next batches
# during the training step.

generator, model = torch.Generator().manual_seed(0), network()
optimiser = torch.optim.Adam(model.parameters(), lr=6e-3)
for (noise, data), P in monge.couple_ahead(batches(400, generator)):
    i, j = P.pair(generator=generator)
    step(model, optimiser, noise[i], data[j], generator)

# %%
# The same network with random pairs, for comparison.

generator, plain = torch.Generator().manual_seed(0), network()
optimiser = torch.optim.Adam(plain.parameters(), lr=6e-3)
for noise, data in batches(400, generator):
    step(plain, optimiser, noise, data, generator)

# %%
# The picture shows the paths from noise to samples.

from matplotlib import pyplot


@torch.no_grad()
def paths(model, start, steps):
    """Places after each step of Euler's method."""
    places = [start]
    for k in range(steps):
        time = torch.full((len(start), 1), k / steps)
        places.append(places[-1] + model(torch.cat([places[-1], time], 1)) / steps)
    return torch.stack(places)


start = gaussian(400, generator=torch.Generator().manual_seed(7))
figure, panels = pyplot.subplots(1, 2, figsize=(12, 5), sharex=True, sharey=True, layout="constrained")
for panel, (title, one) in zip(panels, {"random pairs": plain, "optimal pairs": model}.items(), strict=True):
    walked = paths(one, start, 50)
    panel.plot(*walked[:, :150].unbind(-1), color="#8d99ae", lw=0.6, alpha=0.7)
    panel.scatter(*walked[0].T, s=5, color="#edb93f", zorder=2)
    panel.scatter(*walked[-1].T, s=8, color="#2a6f97", zorder=3)
    panel.set(title=title, aspect="equal", xticks=[], yticks=[])

# %%
# Straight paths need few steps. The table has the distance between samples and fresh data, after four steps and after
# fifty, and how much longer the paths are than the straight lines between their ends.

fresh = 2 * moons(400, generator=torch.Generator().manual_seed(8))
for title, one in {"random pairs": plain, "optimal pairs": model}.items():
    walked = paths(one, start, 50)
    far = [monge.wasserstein(paths(one, start, steps)[-1], fresh) for steps in (4, 50)]
    length = walked.diff(dim=0).norm(dim=-1).sum(0).mean() / (walked[-1] - walked[0]).norm(dim=-1).mean() - 1
    print(f"{title}: distance {far[0]:.2f} after 4 steps, {far[1]:.2f} after 50; paths {length:.0%} longer")

# %%
# The same task with torchcfm
# ---------------------------
#
# The table is for 20 batches of 512 points in 32 dimensions, with one training step on each. It has the mean squared
# distance of a pair, and the share of the data of a batch that was used. torchcfm draws pairs from the plan with
# replacement, so that some points are drawn several times and others never.
#
# .. literalinclude:: ../../benchmarks/recipes/pair_noise_and_data.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-pair_noise_and_data.rst
#
# What can go wrong
# -----------------
#
# Pairs are optimal within a batch only, so larger batches give straighter paths. Pictures are flattened before they are
# paired, with ``noise.flatten(1)``. With labels, pair each class with noise of its own, or the noise says which class
# it will become. :func:`monge.couple_ahead` takes ``epsilon=`` for large batches; ``P.pair`` then draws one partner
# for each row.

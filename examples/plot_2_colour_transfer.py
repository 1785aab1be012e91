"""
Two photographs in each other's colours
=======================================

A photograph is a cloud of colours. One unbalanced entropic plan between samples of both clouds moves the colours of
each photograph onto the other one; ``monge demo`` does the same with 20,000 pixels a side.
"""

import torch

import monge
from monge.data import photographs
from monge.geometry import PointCloud
from monge.plot import colour_transfer

temple, flower = photographs()
temple, flower = temple[::2, ::2], flower[::2, ::2]
generator = torch.Generator().manual_seed(0)


def sample(image, count=3000):
    pixels = image.reshape(-1, 3)
    return pixels[torch.randperm(len(pixels), generator=generator)[:count]]


x, y = sample(temple), sample(flower)
uniform = torch.full((3000,), 1 / 3000)
mean_cost = float(PointCloud(x, y).mean(uniform, uniform))

# %%
# Balanced transport would force every colour of the flower to be used up, and tear the sky in two. A price ``rho`` for
# missing the marginals lets the sky stay one sky.

P = monge.couple(x, y, epsilon=0.004 * mean_cost, rho=0.2 * mean_cost, solver=monge.solver.Sinkhorn(tol=1e-2))

# %%
# The plan knows 3000 pixels. Its map moves all of them, and any colour at all; that of ``P.T`` goes the other way.

in_colours_of_flower = P.map(temple.reshape(-1, 3)).reshape(temple.shape)
in_colours_of_temple = P.T.map(flower.reshape(-1, 3)).reshape(flower.shape)
picture = colour_transfer(temple, flower, in_colours_of_flower, in_colours_of_temple)

"""
Two photographs in each other's colours
=======================================

The pixels of a photograph are points in the space of colours. One unbalanced entropic plan between samples of two
photographs gives each of them the colours of the other; ``monge demo`` does the same with 20,000 pixels of each.
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
# Balanced transport would have to use all mass of every colour of the flower, and would give different colours to
# parts of the sky that look the same. A price ``rho`` for missing the marginals allows the sky to keep one colour.

P = monge.couple(x, y, epsilon=0.004 * mean_cost, rho=0.2 * mean_cost, solver=monge.solver.Sinkhorn(tol=1e-2))

# %%
# The plan was computed for 3000 pixels of each photograph. Its map moves all pixels, and any other colour too. The map
# of ``P.T`` goes in the other direction.

in_colours_of_flower = P.map(temple.reshape(-1, 3)).reshape(temple.shape)
in_colours_of_temple = P.T.map(flower.reshape(-1, 3)).reshape(flower.shape)
picture = colour_transfer(temple, flower, in_colours_of_flower, in_colours_of_temple)

"""
Two photographs in each other's colours
=======================================

A photograph is a cloud of colours. One unbalanced entropic plan between samples of both clouds moves the colours of
each photograph onto the other one; ``monge demo`` does the same with 20,000 pixels a side.
"""

import torch

import monge
from monge.coupling import PotentialCoupling
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
# The plan knows 3000 pixels. Its potential on the other side extends it to all of them, and to any colour at all.


def everywhere(plan, image, values):
    pixels = image.reshape(-1, 3)
    free, ones = torch.zeros(len(pixels)), torch.ones(len(pixels))
    extended = PotentialCoupling(PointCloud(pixels, values), free, plan.g, ones, plan.b, plan.epsilon)
    return extended.barycentric(values).reshape(image.shape)


picture = colour_transfer(temple, flower, everywhere(P, temple, y), everywhere(P.T, flower, x))

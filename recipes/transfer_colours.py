"""
Transfer colours to a new picture
=================================

The pixels of a photograph are points in the space of colours. A map from the colours of one photograph to those of
another one is learned once, from a sample of pixels. Then it recolours any picture of the same kind, however large.
"""

import numpy as np

import monge
from monge.adapt import UnbalancedMap
from monge.data import photographs

temple, flower = (photograph.numpy() for photograph in photographs())  # rows, columns, and colours in [0, 1]
random = np.random.default_rng(0)


def sample(photograph, count=2000):
    """Some of the pixels."""
    return random.permutation(photograph.reshape(-1, 3))[:count]


# %%
# This is the recipe. The map is learned from 2000 pixels of each photograph. ``rho`` is the price of leaving a colour
# out: a photograph with much sky need not use every dark green of the other one. Then the map moves all 273,280 pixels,
# in blocks, so that no large matrix is built.

colours = UnbalancedMap(target=sample(flower), epsilon=monge.relative(0.01), rho=0.3).fit(sample(temple))
recoloured = colours.transform(temple.reshape(-1, 3)).reshape(temple.shape)

# %%
# The picture shows both photographs, and the temple in the colours of the flower.

from matplotlib import pyplot

figure, panels = pyplot.subplots(1, 3, figsize=(13, 3.2), layout="constrained")
titles = ("the temple", "the flower", "the temple in the flower's colours")
for panel, picture, title in zip(panels, (temple, flower, recoloured.clip(0, 1)), titles, strict=True):
    panel.imshow(picture)
    panel.set(title=title, xticks=[], yticks=[])

# %%
# Are these colours of the flower? For each pixel, this is the distance to the nearest of 20,000 pixels of the flower.

from scipy.spatial import KDTree

palette = KDTree(sample(flower, 20_000))
for name, picture in (("temple", temple), ("recoloured temple", recoloured), ("flower", flower)):
    print(f"{name}: {palette.query(sample(picture))[0].mean():.3f} on average")

# %%
# The same task with POT
# ----------------------
#
# .. literalinclude:: ../../benchmarks/recipes/transfer_colours.py
#    :pyobject: theirs
#
# The table is for samples of 1000 pixels. Its last column is the mean distance of a new colour from the nearest colour
# of the flower.
#
# .. include:: ../generated/recipe-transfer_colours.rst
#
# What can go wrong
# -----------------
#
# :class:`monge.adapt.EntropicMap` uses all mass of every colour. Then parts of the sky that look the same get different
# colours, because the flower has too little of one of them. A small ``epsilon`` gives vivid colours, and a large one
# gives mean colours. New colours may lie a little outside of [0, 1] by rounding, so they are clipped before they are
# shown.

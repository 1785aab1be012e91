"""
Average pictures
================

The task is to find the typical one of several pictures. Their mean, pixel by pixel, is a blur. Their *barycentre*
moves ink instead of adding it up: it is the picture that is nearest to all of them by transport, and its strokes are as
sharp as theirs.
"""

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

import monge
from monge.geometry import Grid

digits, random = load_digits(), np.random.default_rng(0)
threes = zoom(digits.images[digits.target == 3][:8], (1, 2, 2), order=1)
threes = np.stack([np.pad(three, [(k, 12 - k) for k in random.integers(1, 12, 2)]) for three in threes])

# %%
# This is the recipe. A picture is a histogram on a grid of pixels. ``epsilon`` is in squared pixels.

n, height, width = threes.shape
histograms = threes.reshape(n, -1) / threes.sum((1, 2))[:, None]
average = monge.barycenter_on(Grid((height, width)), histograms, epsilon=1.0, tol=3e-3).reshape(height, width)

# %%
# The picture shows eight threes at different places, their mean, and their barycentre.

from matplotlib import pyplot

mean = histograms.mean(0).reshape(height, width)
shown = {**{f"picture {k + 1}": three for k, three in enumerate(threes)}, "mean of pixels": mean, "barycentre": average}
figure, panels = pyplot.subplots(2, 5, figsize=(12, 5.2), layout="constrained")
for panel, (title, image) in zip(panels.T.flat, shown.items(), strict=True):
    panel.imshow(image, cmap="Greys" if title.startswith("picture") else "Blues")
    panel.set(title=title, xticks=[], yticks=[])

# %%
# The ink of a picture covers about :math:`1 / \sum_i p_i^2` pixels, if :math:`p_i` is the share of a pixel.


def covered(image):
    """How many pixels have ink."""
    return float(1 / ((image / image.sum()) ** 2).sum())


print(f"pictures: {np.mean([covered(three) for three in threes]):.0f} pixels with ink")
print(f"mean of pixels: {covered(mean):.0f}, barycentre: {covered(average):.0f}")

# %%
# The same task with POT
# ----------------------
#
# Both minimise the mean Sinkhorn divergence to the pictures. The table shows it in squared pixels; less is better.
#
# .. literalinclude:: ../../benchmarks/recipes/average_pictures.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-average_pictures.rst
#
# What can go wrong
# -----------------
#
# A smaller ``epsilon`` makes finer pictures and needs more iterations; if they do not suffice, a warning says so.
# ``debiased=False`` gives the plain barycentre, which is blurred by about the root of ``epsilon``. Pictures of
# different mass are refused, since transport keeps mass: divide each by its sum. :func:`monge.barycenter_on` takes any
# points that stay, and :func:`monge.barycenter` averages clouds, whose points may move.

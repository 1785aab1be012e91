"""
Adapt one data set to another
=============================

A classifier was trained on data of one kind, and the new data are a little different: they come from another scanner,
another hospital or another year, and have no labels. Here the new scanner turns the handwritten digits by 20 degrees,
blurs them and has less contrast. Transport moves the labelled data to where the new data are, and the classifier is
trained there.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, rotate
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import monge
from monge.adapt import EntropicMap

random = np.random.default_rng(0)


def other_scanner(X):
    """The same digits, turned, blurred, grey and with noise."""
    images = rotate(X.reshape(-1, 8, 8), 20, axes=(1, 2), reshape=False, order=1)
    images = 0.3 + 0.5 * gaussian_filter(images, (0, 0.6, 0.6))
    return images.reshape(-1, 64) + random.normal(0, 0.03, X.shape)


X, y = load_digits(return_X_y=True)
X, order = X / 16, random.permutation(len(X))
old, new = order[:700], order[700:1400]  # no digit is in both
X_new = other_scanner(X[new])

# %%
# This is the recipe. The estimator is fitted on the old data; the target is the new data. It follows the rules of
# scikit-learn, so it may stand in a ``Pipeline``, and ``transform`` moves points that it has not seen, too.

adapted = EntropicMap(target=X_new, epsilon=monge.relative(0.02)).fit(X[old])
X_moved = adapted.transform(X[old])
classifier = LogisticRegression(max_iter=2000).fit(X_moved, y[old])

# %%
# The picture shows some digits of the old scanner, where each of them went, and digits of the new scanner.

from matplotlib import pyplot

figure, panels = pyplot.subplots(3, 10, figsize=(12, 4), layout="constrained")
shown = [int(np.flatnonzero(y[old] == digit)[0]) for digit in range(10)]
found = [int(np.flatnonzero(y[new] == digit)[0]) for digit in range(10)]
for row, images, title in zip(
    panels, (X[old][shown], X_moved[shown], X_new[found]), ("old", "moved", "new"), strict=True
):
    row[0].set_ylabel(title, size=14)
    for panel, image in zip(row, images, strict=True):
        panel.imshow(image.reshape(8, 8), cmap="Blues", vmin=0, vmax=1)
        panel.set(xticks=[], yticks=[])

# %%
# How many of the new digits are recognised? The last line is what a classifier would reach that has labels from the new
# scanner.

before = LogisticRegression(max_iter=2000).fit(X[old], y[old])
best = LogisticRegression(max_iter=2000).fit(other_scanner(X[old]), y[old])
for name, trained in (
    ("trained on the old data", before),
    ("on the moved data", classifier),
    ("with new labels", best),
):
    print(f"{name}: {trained.score(X_new, y[new]):.1%}")

# %%
# The same task with POT
# ----------------------
#
# .. literalinclude:: ../../benchmarks/recipes/adapt_a_data_set.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-adapt_a_data_set.rst
#
# What can go wrong
# -----------------
#
# Plain transport does not know what a class is. If the classes of the two data sets have different shares, mass of one
# class goes to another one: then :class:`monge.adapt.UnbalancedMap` helps. If a class of the new data lies nearer to a
# wrong class of the old data, no map of this kind repairs it. :class:`monge.adapt.ClassRegularisedMap` uses the labels
# of the old data, and ``target_labels`` those of the new data that are known. :doc:`/maps` compares the maps.

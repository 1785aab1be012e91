"""
Apply a plan to new points
==========================

A plan is made for the points of two samples. The task is to move other points, without a new plan: the rest of a large
data set, or what is measured tomorrow. Here a sensor with two channels is replaced by another one. Both sensors have
measured samples of the same material, but never the same piece. The readings of the old sensor are to be translated.
"""

import numpy as np

import monge

random = np.random.default_rng(0)


def readings(count):
    """What the old sensor tells about so many pieces."""
    centres = np.array([[0.0, 0.0], [2.2, 0.6], [0.8, 2.0]])[random.integers(0, 3, count)]
    return centres + random.normal(0, 0.35, (count, 2))


def translated(x):
    """What the new sensor would have told about the same pieces; the recipe does not know this function."""
    one, two = np.array([1.0, 0.5]), np.array([-0.4, 1.0])
    bend = 1.2 / (1 + np.exp(3 - 2 * x @ one))[:, None] * one + 0.8 / (1 + np.exp(2 - 2 * x @ two))[:, None] * two
    return x @ np.array([[1.1, 0.2], [0.2, 0.9]]) + bend + np.array([4.0, 0.0])


old, new = readings(1000), translated(readings(1000))  # the two samples, of different pieces
archive = readings(50_000)  # old readings that are to be translated

# %%
# This is the recipe. The map of an entropic plan is defined everywhere, and it is smooth. NumPy comes in and goes out.

P = monge.couple(old, new, epsilon=monge.relative(0.003))
moved = P.map(archive)

# %%
# The map of the transposed plan translates in the other direction. An exact plan has a map too, which sends each point
# to one reading of the new sample.

back = P.T.map(moved)
exact = monge.couple(old, new).map(archive, method="nearest")

# %%
# The picture shows the archive as it was and as it was translated. A point keeps its colour, so that you see where the
# parts go. The sample of the new sensor is drawn in black.

from matplotlib import pyplot

ranks = archive.argsort(0).argsort(0) / len(archive)
colours = np.stack([0.15 + 0.8 * ranks[:, 0], 0.45 + 0.35 * ranks[:, 1], 0.85 - 0.7 * ranks[:, 0]], -1)
figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
left.scatter(*archive.T, s=2, c=colours, linewidths=0)
left.set_title("50,000 readings of the old sensor")
right.scatter(*moved.T, s=2, c=colours, linewidths=0)
right.scatter(*new.T, s=3, color="#22223b", linewidths=0, alpha=0.6)
right.set_title("translated; in black 1000 readings of the new sensor")
for panel in (left, right):
    panel.set_aspect("equal")
    panel.axis("off")

# %%
# The true translation is known here, so that the error at the new points can be measured, as the root of the mean
# squared distance. A spread of the data that is moved only as a whole is the least that one would do.


def error(found):
    return np.sqrt(((found - translated(archive)) ** 2).sum(-1).mean())


print(f"map of the entropic plan: {error(moved):.3f}")
print(f"map of the exact plan:    {error(exact):.3f}")
print(f"moved as a whole:         {error(archive + new.mean(0) - old.mean(0)):.3f}")
print(f"there and back:           {np.sqrt(((back - archive) ** 2).sum(-1).mean()):.3f}")

# %%
# The same task with POT
# ----------------------
#
# POT's estimator has an exact plan, and moves a new point as the nearest point of the sample. The table has the time
# to make the plan and to move 50,000 points, and the error at these points.
#
# .. literalinclude:: ../../benchmarks/recipes/apply_a_plan_to_new_points.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-apply_a_plan_to_new_points.rst
#
# What can go wrong
# -----------------
#
# In a small sample, the parts of the data have other shares than in another sample. A balanced plan must then move
# mass from one part to another; these are the points between the clusters of the picture. If this matters, let
# marginals be missed: with both samples centred and ``rho=10.0``, the error here is 0.15. A map says nothing about
# points that are far from all points of the sample. A large epsilon draws the images together, and a very small one
# follows the noise of the sample: :doc:`/maps` has a table, and the other two kinds of maps.
# :class:`monge.adapt.EntropicMap` is the same map as an estimator of scikit-learn.

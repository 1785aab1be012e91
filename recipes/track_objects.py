"""
Track objects between frames
============================

A detector finds objects in every frame of a film. The task is to say which detections of two frames are the same
object. Objects enter and leave, some are missed, and some detections are false alarms. A matching with a *gate* allows
only pairs that are near each other, and a *price of staying alone* says when a detection has no partner.
"""

from itertools import pairwise

import numpy as np
import torch

import monge

random = np.random.default_rng(0)
frames, objects = 60, 40
velocity = random.normal(0, 1.0, (objects, 2))
place = random.uniform(0, 100, (objects, 2))
enters, leaves = random.integers(0, 20, objects), random.integers(40, 61, objects)
film, truth = [], []  # detections (n, 2) of every frame, and which object each of them is; -1 is a false alarm
for frame in range(frames):
    velocity = 0.95 * velocity + random.normal(0, 0.15, (objects, 2))
    velocity = np.where((place + velocity < 0) | (place + velocity > 100), -velocity, velocity)
    place = place + velocity
    seen = np.flatnonzero((enters <= frame) & (frame < leaves) & (random.random(objects) > 0.02))
    alarms = random.uniform(0, 100, (random.poisson(3), 2))
    film.append(np.concatenate([place[seen] + random.normal(0, 0.2, (len(seen), 2)), alarms]))
    truth.append(np.concatenate([seen, np.full(len(alarms), -1)]))

# %%
# This is the recipe. All 59 pairs of frames are one batch: frames with fewer detections are filled up, and the masks
# say which entries are no detections. A pair must be nearer than 6, and it is matched only if it is cheaper than
# leaving both detections alone.

points = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(found) for found in film], batch_first=True)
absent = torch.arange(points.shape[1]) >= torch.tensor([len(found) for found in film])[:, None]

cost = torch.cdist(points[:-1], points[1:])
row, col = monge.linear_assignment(
    cost, allowed=cost < 6.0, row_padding=absent[:-1], col_padding=absent[1:], unmatched=3.0
)

# %%
# A detection takes the number of its partner in the frame before, or a new number. Where a pair of frames has fewer
# pairs than another one, ``row`` and ``col`` are filled up with -1.

numbers = [np.arange(len(film[0]))]
for frame in range(1, frames):
    fresh = np.arange(len(film[frame])) + 1000 * frame
    matched = row[frame - 1] >= 0
    fresh[col[frame - 1][matched]] = numbers[-1][row[frame - 1][matched]]
    numbers.append(fresh)

# %%
# At the left are the detections of all frames, with early ones in a light colour. At the right is one line for each
# track of at least five frames.

from matplotlib import pyplot

spots, owner = np.concatenate(film), np.concatenate(numbers)
when = np.repeat(np.arange(frames), [len(found) for found in film])
figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 6), layout="constrained")
left.scatter(*spots.T, s=5, c=when, cmap="Blues", vmin=-20, linewidths=0)
left.set_title(f"{len(spots)} detections in {frames} frames")
tracks = [spots[owner == number] for number in np.unique(owner)]
tracks = [track for track in tracks if len(track) >= 5]
for track, colour in zip(tracks, pyplot.cm.turbo(np.linspace(0.05, 0.95, len(tracks))), strict=True):
    right.plot(*track.T, color=colour, lw=1.5)
    right.plot(*track[-1], "o", color=colour, ms=4)
right.set_title(f"{len(tracks)} tracks")
for panel in (left, right):
    panel.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal", xticks=[], yticks=[])

# %%
# The objects were planted, so that every pair can be checked. Without gate and price, the matching must use as many
# detections as possible, and many pairs are wrong.


def counted(row, col):
    """How many pairs join detections of one object, and how many do not."""
    right = wrong = 0
    for frame in range(frames - 1):
        i, j = row[frame], col[frame]
        one, two = truth[frame][i[i >= 0]], truth[frame + 1][j[j >= 0]]
        right += ((one == two) & (one >= 0)).sum()
        wrong += ((one != two) | (one < 0)).sum()
    return f"{right} pairs are right, {wrong} are wrong"


there = sum(len(np.intersect1d(one[one >= 0], two[two >= 0])) for one, two in pairwise(truth))
print(f"{there} pairs of detections belong together")
print("with gate and price:", counted(row, col))
print("without:", counted(*monge.linear_assignment(cost, row_padding=absent[:-1], col_padding=absent[1:])))

# %%
# The same task with SciPy
# ------------------------
#
# SciPy's matching knows no gate and no price. The usual remedy is a larger matrix with a dustbin for each detection.
# Both find the same pairs; the film of the table has about 115 detections in each of 60 frames. On one thread, SciPy is
# faster here: Monge checks and gates the costs of all pairs before it looks for connected parts.
#
# .. literalinclude:: ../../benchmarks/recipes/track_objects.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-track_objects.rst
#
# What can go wrong
# -----------------
#
# An object that is missed in one frame gets a new number in the next: match the lost ends of tracks with the new
# starts in a second matching. If objects move further between frames than they are apart, subtract the predicted
# motion first, or let the cost use what the objects look like. A pair is matched if it costs less than twice
# ``unmatched``, so a gate above that has no effect. Without ``unmatched``, every detection of the smaller frame gets a
# partner, and a gate that leaves no such matching is an error. See :func:`monge.linear_assignment`, also for scores
# instead of costs.

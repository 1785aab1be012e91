"""
Pathfinder: a long way by small steps
=====================================

Two discs mark tips of dashed curves. Are they the two ends of one curve? A model that reads the picture pixel by pixel
has to follow the dashes, since nothing else in the picture tells: `monge.data.pathfinder` draws the label first, and
the marks and the distractors without regard to it.
"""

from matplotlib import pyplot

from monge.data import pathfinder


def show(task, title, count=6):
    """Pictures of the two classes, a row each."""
    side = round(task.length**0.5)
    figure, panels = pyplot.subplots(2, count, figsize=(2.2 * count, 5), layout="constrained")
    figure.suptitle(title)
    for label, row in enumerate(panels):
        chosen = task.train.tokens[task.train.labels == label][:count]
        for picture, panel in zip(chosen, row, strict=True):
            panel.imshow(picture.reshape(side, side), cmap="gray", vmin=0, vmax=255)
            panel.set(xticks=[], yticks=[])
        row[0].set_ylabel(["two curves: 0", "one curve: 1"][label])


# %%
# The task of the Long Range Arena: 32 pixels along a side, 1024 tokens, 14 dashes a curve.

task = pathfinder(counts=(100, 10, 10), seed=1)
show(task, "32 x 32, 14 dashes")

# %%
# Six dashes are for small budgets; there are more distractors, but they are short.

show(pathfinder(contour=6, counts=(100, 10, 10), seed=1), "32 x 32, 6 dashes")

# %%
# Easier to look at, not to learn: 128 pixels along a side are 16,384 tokens.

show(pathfinder(size=128, counts=(14, 1, 1), seed=3), "128 x 128, 14 dashes", count=3)

# %%
# The brightness does not give the label away: the same on average, within the noise of a hundred pictures.

bright = task.train.tokens.float().mean(1)
for label in (0, 1):
    of_class = bright[task.train.labels == label]
    print(f"label {label}: {of_class.mean():.2f} ± {of_class.std() / len(of_class) ** 0.5:.2f}")

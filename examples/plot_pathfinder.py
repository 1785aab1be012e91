"""
Pathfinder: are two discs on one curve?
=======================================

Two discs mark ends of dashed curves. The question is whether they are the two ends of the same curve. A model that
reads the picture pixel by pixel has to follow the dashes, because nothing else in the picture gives the answer:
`monge.data.pathfinder` draws the label first, and the discs and the other curves do not depend on it.
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
# These are pictures as in the Long Range Arena: 32 pixels along a side, so 1024 tokens, and 14 dashes in each curve.

task = pathfinder(counts=(100, 10, 10), seed=1)
show(task, "32 x 32, 14 dashes")

# %%
# With six dashes in a curve, the task needs less training. There are more curves that distract, but they are short.

show(pathfinder(contour=6, counts=(100, 10, 10), seed=1), "32 x 32, 6 dashes")

# %%
# Larger pictures are easier for the eye, but not for a model: 128 pixels along a side are 16,384 tokens.

show(pathfinder(size=128, counts=(14, 1, 1), seed=3), "128 x 128, 14 dashes", count=3)

# %%
# The brightness does not reveal the label: both labels have the same mean brightness, within the noise of a hundred
# pictures.

bright = task.train.tokens.float().mean(1)
for label in (0, 1):
    of_class = bright[task.train.labels == label]
    print(f"label {label}: {of_class.mean():.2f} ± {of_class.std() / len(of_class) ** 0.5:.2f}")

"""
Replace the attention of a TransformerEncoder
=============================================

The task is to give an encoder of torch another attention, in the code that you have. Here the encoder removes noise
from sets of 512 points. Every set has three centres of its own, so that a point must read the other points to learn
where its centre is. Attention by pivots takes linear time, and every point is read as much as every other.
"""

import torch

import monge


def noisy(sets, generator, points=512):
    """Points around three random centres, and where they were before the noise."""
    centres = 4 * torch.rand(sets, 3, 2, generator=generator) - 2
    chosen = torch.randint(3, (sets, points), generator=generator)
    clean = centres.gather(1, chosen[..., None].expand(-1, -1, 2))
    return clean + 0.5 * torch.randn(sets, points, 2, generator=generator), clean


# %%
# This is the recipe: one line behind the layer of torch. ``monge.nn.MultiheadAttention`` has the arguments, the names
# and the masks of torch's class. ``enable_nested_tensor=False`` only prevents a warning of torch.

torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
layer.self_attn = monge.nn.MultiheadAttention(32, 4, batch_first=True, coupler="pivots")
encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

# %%
# Training is as it was before.

model = torch.nn.Sequential(torch.nn.Linear(2, 32), encoder, torch.nn.Linear(32, 2))
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
generator = torch.Generator().manual_seed(1)
losses = []
for _ in range(100):
    points, clean = noisy(4, generator)
    loss = (points + model(points) - clean).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    losses.append(loss.item())

# %%
# The picture shows a set that the model has not seen, before and after. A dark cross is a true centre.

from matplotlib import pyplot

model.eval()
with torch.no_grad():
    points, clean = noisy(16, torch.Generator().manual_seed(5))
    cleaned = points + model(points)

figure, (left, centre, right) = pyplot.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
shown = 3
for panel, drawn, title in ((left, points, "noisy points"), (centre, cleaned, "after the encoder")):
    panel.scatter(*drawn[shown].T, s=9, color="#2a6f97", alpha=0.6, linewidths=0)
    panel.plot(*clean[shown].unique(dim=0).T, "x", color="#22223b", ms=11, mew=2.5)
    panel.set_title(title)
    panel.set(xlim=(-3.7, 3.7), ylim=(-3.7, 3.7), aspect="equal")
    panel.axis("off")
right.plot(losses, color="#2a6f97")
right.axhline(0.25, color="#8d99ae", ls="--", lw=1)
right.text(99, 0.26, "noise", ha="right", color="#8d99ae")
right.set(xlabel="step of training", ylim=(0, 1), title="mean squared error")
right.spines[["top", "right"]].set_visible(False)

# %%
# The error is the root of the mean squared distance to the clean points, per coordinate. The second line is what only
# balanced attention has: how much the points are read, between the least and the most, in units of an equal share.

before, after = ((found - clean).square().mean().sqrt() for found in (points, cleaned))
print(f"error: {after:.2f}, without the encoder {before:.2f}")
attention = encoder.layers[0].self_attn
_, weights = attention(*3 * [model[0](points)], need_weights=True)
read = weights.sum(1)
print(f"every point is read between {read.min():.6f} and {read.max():.6f} times its share")

# %%
# The same task with torch
# ------------------------
#
# The other library is torch itself, with its softmax attention. Both encoders are trained on sets of 1024 points until
# their error on other sets is 0.36 or less, and the table has the seconds that this takes.
#
# .. literalinclude:: ../../benchmarks/recipes/replace_attention.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-replace_attention.rst
#
# What can go wrong
# -----------------
#
# If a mean over all tokens reads the last layer, it does not see balanced attention: read with a maximum, with learned
# weights or with a class token, see :doc:`/attention`. Below about 300 tokens, the fused softmax of torch is as fast
# or faster. Balanced attention cannot be causal; ``coupler="causal-pivots"`` has exact rows only. A trained model
# needs some training after its attention was replaced: ``monge.convert`` does both. The parameter ``layer.self_attn``
# is set before ``TransformerEncoder`` copies the layer; to change an encoder that exists, set it in every one of
# ``encoder.layers``.

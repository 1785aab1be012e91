"""
Losses for wrong labels, losses for disturbed inputs
====================================================

Cross-entropy belongs to a family of losses. The order says how strong the gradient of a wrongly classified sample is.
Orders above one tolerate wrong labels; orders below one enforce them. The adversarial form asks that the scores do not
change when the input changes a little.
"""

# %%
# The loss of each order, as a function of the margin: the score of the label less the score of the other class. Left of
# zero, the answer is wrong. There the gradient grows with the distance from zero for orders below 1, tends to a
# constant for order 1, and tends to zero for orders above 1.
import math

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

from monge_papers.tail.comp_sum import AdversarialCompSumLoss, Ascent, CompSumLoss, comp_sum_loss

ORDERS = (0.5, 1.0, 1.5, 2.0)
colours = dict(zip(ORDERS, ("tab:red", "black", "tab:blue", "tab:cyan"), strict=True))
margin = torch.linspace(-4, 4, 200)
scores = torch.stack([margin, torch.zeros(200)], 1)
first = torch.zeros(200, dtype=torch.long)

# %%
# The data are digits of 8 × 8 pixels. A share of their training labels is replaced at random; the test labels are
# right. The same small network is trained with every order. Order 1.5 tolerates the wrong labels best. Order 2
# tolerates so much that some digits are never learned.
generator = torch.Generator().manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.data / 16, dtype=torch.float32)
labels = torch.tensor(digits.target)
shuffled = torch.randperm(len(images), generator=generator)
train, test = shuffled[:1000], shuffled[1000:]


def trained(loss, seed=0, steps=300, wrong=0.0):
    """A network after some steps of Adam on batches of 100 training images; ``loss`` takes it, images and labels."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    draw = torch.Generator().manual_seed(seed)
    given = labels[train].clone()
    replaced = torch.rand(len(train), generator=draw) < wrong
    given[replaced] = torch.randint(10, (int(replaced.sum()),), generator=draw)
    for _ in range(steps):
        batch = torch.randint(len(train), (100,), generator=draw)
        optimiser.zero_grad()
        loss(network, images[train][batch], given[batch]).backward()
        optimiser.step()
    return network


@torch.no_grad()
def accuracy(network, shown):
    """The share of test images that are read rightly, as they are shown."""
    return (network(shown).argmax(1) == labels[test]).float().mean().item()


shares = (0.0, 0.3, 0.6)
clean = {}
for order in ORDERS:
    plain = CompSumLoss(order)

    def loss(network, shown, given, plain=plain):
        return plain(network(shown), given)

    runs = [[accuracy(trained(loss, seed, wrong=wrong), images[test]) for seed in range(2)] for wrong in shares]
    clean[order] = [sum(run) / len(run) for run in runs]
    told = (f"{got:.3f} with {wrong:.0%} wrong" for wrong, got in zip(shares, clean[order], strict=True))
    print(f"order {order}: {', '.join(told)}")

# %%
# Small changes of the pixels can be chosen so that the network gives wrong answers. With the adversarial form of the
# loss, the network resists such changes, but loses some accuracy on the unchanged digits. Both networks were trained
# with right labels.
radii = torch.linspace(0, 0.2, 6).tolist()
foreseeing = AdversarialCompSumLoss(ascent=Ascent(0.1, steps=5), price=1.0)
networks = {
    "cross-entropy": trained(lambda net, x, y: comp_sum_loss(net(x), y)),
    "adversarial, radius 0.1": trained(foreseeing),
}
attacked = {}
for name, network in networks.items():
    attacked[name] = []
    for radius in radii:
        shown = Ascent(radius, math.inf, steps=20).worst(
            lambda moved, network=network: comp_sum_loss(network(moved), labels[test], reduction="none"),
            images[test],
            generator=torch.Generator().manual_seed(1),
        )
        attacked[name].append(accuracy(network, shown))
    print(f"{name}: {attacked[name][0]:.3f} as they are, {attacked[name][3]:.3f} with pixels moved by {radii[3]:.2f}")

figure, (shapes, noise, attack) = plt.subplots(1, 3, figsize=(12, 3.8))
for order in ORDERS:
    style = {"color": colours[order], "label": f"order {order}"}
    shapes.plot(margin, comp_sum_loss(scores, first, order, reduction="none"), **style)
    noise.plot([100 * wrong for wrong in shares], clean[order], "o-", **style)
shapes.set(xlabel="margin of the label (score)", ylabel="loss", ylim=(0, 5), title="The family")
noise.set(xlabel="wrong training labels (%)", ylabel="test accuracy", title="Forgiving wrong labels")
for name, style in zip(networks, ("k-o", "C2-o"), strict=True):
    attack.plot(radii, attacked[name], style, label=name)
attack.set(xlabel="each pixel may move by", ylabel="test accuracy under attack", title="Foreseeing attacks")
for axis in (shapes, noise, attack):
    axis.legend(fontsize=8)
figure.tight_layout()

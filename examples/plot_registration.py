"""
Registration of two clouds
==========================

Two scans show the same object in different positions, and each scan has outliers. Partial transport finds the motion
that moves one scan onto the other, and ignores the outliers. The usual iteration of closest points (ICP) fails.
"""

# %%
# The object is a desk lamp with 300 points, in two positions. Forty per cent of the points of each cloud are outliers.
import matplotlib.pyplot as plt
import torch

from monge.registration import Rigid, rigid

generator = torch.Generator().manual_seed(4)


def lamp():
    def along(start, end, count):
        t = torch.rand(count, 1, generator=generator)
        return torch.tensor(start) * (1 - t) + torch.tensor(end) * t

    def ring(count):
        t = 2 * torch.pi * torch.rand(count, generator=generator)
        return torch.stack([t.cos(), t.sin(), torch.zeros_like(t)], -1)

    foot = 0.5 * ring(70) * torch.rand(70, 1, generator=generator).sqrt()
    pole, arm = along([0.0, 0.0, 0.0], [0.35, 0.0, 1.1], 65), along([0.35, 0.0, 1.1], [-0.7, 0.25, 1.6], 65)
    down = torch.rand(100, 1, generator=generator).sqrt()
    shade = torch.tensor([-0.7, 0.25, 1.6]) + 0.4 * down * ring(100) + down * torch.tensor([-0.3, 0.05, -0.5])
    points = torch.cat([foot, pole, arm, shade])
    return points - points.mean(0)


def clutter(points, count=200):
    return torch.cat([points, points.mean(0) + 3.5 * (torch.rand(count, 3, generator=generator) - 0.5)])


angle = torch.tensor(2.2)
axis = torch.nn.functional.normalize(torch.tensor([0.5, 1.0, -0.4]), dim=0)
cross = torch.linalg.cross(torch.eye(3), axis.expand(3, 3))
truth = Rigid(torch.matrix_exp(angle * cross), torch.tensor([0.3, -0.2, 0.4]), torch.tensor(1.0))
thing = lamp()
source = clutter(thing)
target = clutter(truth(thing) + 0.01 * torch.randn(300, 3, generator=generator))


# %%
# The usual method repeats two steps: it finds the nearest neighbour of every point, and then the motion that is best
# for these neighbours. It does not recognise outliers, and cannot find a large rotation.
def closest_points(x, y, steps=100):
    rotation, shift = torch.eye(3), y.mean(0) - x.mean(0)
    for _ in range(steps):
        goal = y[torch.cdist(x @ rotation.T + shift, y).argmin(1)]
        left, _, right = torch.linalg.svd((goal - goal.mean(0)).T @ (x - x.mean(0)))
        left[:, -1] *= torch.det(left @ right).sign()
        rotation = left @ right
        shift = goal.mean(0) - rotation @ x.mean(0)
    return Rigid(rotation, shift, torch.tensor(1.0))


stuck = closest_points(source, target)
found = rigid(source, target, generator=generator)


# %%
# The answer also says whether it can be trusted: its verdict compares the motion with the best one that is clearly
# different.
def error(motion):
    return (motion(thing) - truth(thing)).norm(dim=-1).square().mean().sqrt()


print(f"closest points:    root mean square error {error(stuck):.3f}")
print(f"partial transport: root mean square error {error(found.transformation):.4f}")
shares = " and ".join(f"{share:.2f}" for share in found.fitness)
print(f"{found.verdict.value} Margin {found.margin:.1f}; matched shares {shares}")
wrong = int(found.inliers[300:].sum())
print(f"of 300 true points {int(found.inliers[:300].sum())} found a partner, of 200 in the clutter {wrong}")

# %%
# Grey rings are the target, and its outliers are light grey. The source is red, and its outliers are pale red. In the
# first two pictures, pale red marks the true outliers; in the last one, those that the registration has found.
known = torch.arange(len(source)) < len(thing)
panels = {
    "before": (source, known),
    "closest points": (stuck(source), known),
    "partial transport": (found.transformation(source), found.inliers),
}
figure = plt.figure(figsize=(12, 4.4))
for k, (name, (points, kept)) in enumerate(panels.items()):
    picture = figure.add_subplot(1, 3, k + 1, projection="3d", proj_type="ortho")
    style = {"depthshade": False, "linewidths": 0}
    picture.scatter(*target[300:].T, s=7, color="0.82", **style)
    picture.scatter(*points[~kept].T, s=7, color="#f4c2b8", **style)
    picture.scatter(*target[:300].T, s=28, facecolors="none", edgecolors="0.45", linewidths=0.7, depthshade=False)
    picture.scatter(*points[kept].T, s=9, color="#c1121f", **style)
    picture.set_title(name)
    picture.set_axis_off()
    picture.set_box_aspect((1, 1, 1), zoom=1.7)
    for limits in (picture.set_xlim, picture.set_ylim, picture.set_zlim):
        limits(-1.35, 1.35)
    picture.view_init(12, -75)
figure.tight_layout()

"""Partial transport for registration: a smooth map between clouds, while outliers on both sides are ignored.

Partial transport finds the partners, a ridge regression finds the map T(x) = A x + t + sum_k w_k K(|x - c_k|), and so
on by turns, while the penalty of staying without a partner and the stiffness of the map become smaller.
"""

import torch

from monge.registration import nonrigid

generator = torch.Generator().manual_seed(0)
angle = 2 * torch.pi * torch.rand(200, 1, generator=generator, dtype=torch.float64)
clean = torch.cat([angle.cos() * (1 + 0.4 * (3 * angle).cos()), angle.sin()], -1)


def outliers(count):
    return 3 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1.5


# A map of the class itself is recovered exactly.
matrix = torch.tensor([[1.05, 0.04], [-0.03, 0.97]], dtype=torch.float64)
found = nonrigid(clean, clean @ matrix.T + 0.1, generator=generator)
exact = (found.transformation(clean) - clean @ matrix.T - 0.1).norm(dim=-1).max()
assert exact < 1e-6

# A bent cloud, with a quarter more points on both sides that belong nowhere.
bent = clean + 0.12 * torch.sin(2 * clean.flip(-1))
found = nonrigid(torch.cat([clean, outliers(50)]), torch.cat([bent, outliers(50)]), generator=generator)
before = (clean - bent).norm(dim=-1).median()
after = (found.transformation(clean) - bent).norm(dim=-1).median()
assert after < 0.25 * before
assert found.inliers[:200].double().mean() > 0.6 > 0.4 > found.inliers[200:].double().mean()

print(
    f"Median error {before:.3f} before and {after:.4f} after; {int(found.inliers.sum())} of 250 points found partners."
)

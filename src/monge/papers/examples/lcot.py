"""LCOT: measures on the circle as vectors, whose distance needs no search for the best cut.

emb(t) = F^-1(t - E + 1/2) - t with the mean position E, and LCOT is the wrapped L2 distance of two embeddings. It is
never below the circular W_2, equals it against the uniform measure, and does not change under a common rotation.
"""

import torch

from monge.sliced.sphere import circular_embedding, circular_wasserstein, linear_circular_wasserstein

x, y = torch.tensor([[0.2, 0.5, 0.8], [0.4, 0.5, 0.7]], dtype=torch.float64)
linear, exact = linear_circular_wasserstein(x, y), circular_wasserstein(x, y)
assert abs(linear**2 - 0.0266667) < 1e-7
assert abs(exact**2 - 0.0166667) < 1e-7

# A measure against the uniform one: the squared norm of its embedding, here 0.0211111.
three = torch.tensor([0.0, 0.2, 0.4], dtype=torch.float64)
uniform = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
assert abs(linear_circular_wasserstein(three, uniform) ** 2 - 0.0211111) < 1e-6
assert abs(circular_embedding(three, size=30_000).square().mean() - 0.0211111) < 1e-5

# Many measures: each is embedded once, and then all distances are distances of vectors.
generator = torch.Generator().manual_seed(0)
points, weights = torch.rand(2, 40, 9, generator=generator, dtype=torch.float64)
pairs = [(points[i], points[i + 1], weights[i], weights[i + 1]) for i in range(39)]
for one, other, a, b in pairs:
    distance = linear_circular_wasserstein(one, other, a, b)
    assert distance >= circular_wasserstein(one, other, a, b) - 1e-12
    torch.testing.assert_close(linear_circular_wasserstein(one + 0.3, other + 0.3, a, b), distance)
difference = circular_embedding(one, a, size=20_000) - circular_embedding(other, b, size=20_000)
wrapped = (difference - difference.round()).square().mean().sqrt()
torch.testing.assert_close(wrapped, distance, rtol=1e-2, atol=0)

print(f"LCOT {linear:.4f}, exact {exact:.4f}; by embeddings {wrapped:.4f}, without a grid {distance:.4f}.")

"""LSSOT: measures on the sphere as vectors, by great circles and the linear embedding of each circle.

Every measure is sorted once on each circle. The root mean square of the wrapped differences of two embeddings is their
distance; circle by circle it is never below the exact circular distance, and the uniform measure is at the origin.
"""

import torch

from monge.sliced import frames, spherical_sliced_wasserstein
from monge.sliced.sphere import spherical_embedding, spherical_uniformity

generator = torch.Generator().manual_seed(0)
frame = frames(20, 3, generator=generator, dtype=torch.float64)
clouds = torch.randn(4, 50, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.8, 0, 0])
clouds = torch.nn.functional.normalize(clouds, dim=-1)

vectors = spherical_embedding(clouds, frame=frame, size=2000)  # (4 measures, 20 circles, 2000 points)
difference = vectors[:, None] - vectors
distances = (difference - difference.round()).square().mean((-1, -2)).sqrt()

for i in range(4):
    for j in range(i):
        linear, exact = (
            spherical_sliced_wasserstein(clouds[i], clouds[j], family=family, frame=frame)
            for family in ("linear", "great-circles")
        )
        torch.testing.assert_close(distances[i, j], linear.distance, rtol=2e-2, atol=0)
        assert (linear.slices >= exact.slices - 1e-12).all()

# Against the uniform measure the linear distance is the exact one, which has a closed form.
norms = vectors.square().mean((-1, -2))
torch.testing.assert_close(norms, spherical_uniformity(clouds, frame=frame), rtol=1e-2, atol=0)

print(f"Distance {distances[3, 2]:.4f} by vectors and {linear.distance:.4f} without a grid.")

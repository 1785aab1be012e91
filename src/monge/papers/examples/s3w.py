"""S3W: the sphere is opened at a pole, and what was a sphere is compared by lines.

The stereographic map without its radial distortion takes s to (angle from the south pole / pi) times its direction, a
point of the unit ball. With one pole (S3W) the distance depends on the pole; its mean over rotations (RI-S3W) does not,
and for antipodal points on S^d its square is 1/d.
"""

import torch

from monge.sliced import Balanced, estimate, frames, rotations
from monge.sliced.sphere import Stereographic, rotated_frames

generator = torch.Generator().manual_seed(0)

# The coordinate along the first axis, with the pole at the last one.
sphere = torch.nn.functional.normalize(torch.randn(100, 3, generator=generator, dtype=torch.float64), dim=-1)
south = torch.arccos(-sphere[:, 2:])
ball = south / torch.pi * sphere[:, :2] / sphere[:, :2].norm(dim=-1, keepdim=True)
axes = torch.eye(3, dtype=torch.float64)
slicer = Stereographic(torch.stack([axes[2], axes[0]])[None])
other = torch.tensor([[0.0, 0.0, -1.0]], dtype=torch.float64)  # the south pole itself lies at the origin
torch.testing.assert_close(estimate(sphere, other, slicer=slicer, line=Balanced(2)).cost, ball[:, 0].square().mean())

# Antipodal points: 1/d on S^d, with a pole for each slice and with a pool of rotations.
for d in (2, 4):
    point = torch.zeros(1, d + 1, dtype=torch.float64)
    point[0, 0] = 1
    pool = rotations(500, d + 1, generator=generator)
    for frame in (frames(20_000, d + 1, generator=generator), rotated_frames(pool, 40, generator=generator)):
        cost = estimate(point, -point, slicer=Stereographic(frame.double()), line=Balanced(2)).cost
        assert abs(cost * d - 1) < 0.08

print(f"Antipodal points of S^4 at squared distance {cost:.3f}, which is 1/4 in the limit.")

"""Distances in many dimensions: by products, and right to the last digits wherever the points lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monge.geometry import PointCloud, Sphere
from sweep import sweep


def some_clouds(seed: int) -> tuple[Tensor, Tensor]:
    """Gaussian, shifted, duplicated, nearly equal, clustered, and of mixed scales."""
    draw, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    n, m, d = int(draw.integers(1, 40)), int(draw.integers(1, 40)), int(draw.choice([9, 16, 50, 200]))

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, y = randn(n, d), randn(m, d)
    kind = seed % 6
    if kind == 1:
        shift = 10.0 ** draw.uniform(0, 8) * randn(d)
        x, y = x + shift, y + shift
    elif kind == 2:
        y = x[torch.randint(n, (m,), generator=generator)]
    elif kind == 3:
        y = x[torch.randint(n, (m,), generator=generator)] + 10.0 ** draw.uniform(-12, -2) * y
    elif kind == 4:
        centres, width = 10 * randn(3, d), 10.0 ** draw.uniform(-8, -1)
        x = centres[torch.randint(3, (n,), generator=generator)] + width * x
        y = centres[torch.randint(3, (m,), generator=generator)] + width * y
    elif kind == 5:
        x = x * torch.logspace(-6, 6, n, dtype=torch.float64)[:, None]
        y = y * torch.logspace(-6, 6, m, dtype=torch.float64)[:, None]
    return x, y


@sweep(default=120)
def test_every_square_is_right_to_its_last_digits(seeds: range) -> None:
    for seed in seeds:
        for x, y, allowed in ((*some_clouds(seed), 1e-12), (*(side.float() for side in some_clouds(seed)), 1e-6)):
            far = x.double().numpy().astype(np.longdouble)[:, None] - y.double().numpy().astype(np.longdouble)
            want = (far * far).sum(-1)
            for name, exponent in (("sqeuclidean", 1.0), ("euclidean", 0.5)):
                found = PointCloud(x, y, name).dense().double().numpy()
                error = np.abs(found - want**exponent)
                assert (error <= allowed * want**exponent).all(), f"seed {seed}, {name}, {x.dtype}"


@sweep(default=30, slow=1000)
def test_slopes_are_those_of_the_differences(seeds: range) -> None:
    for seed in seeds:
        x, y = some_clouds(seed)
        weight = torch.rand(len(x), len(y), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        x.requires_grad_()
        far = x[:, None] - y
        square = (far * far).sum(-1)
        length = square.masked_fill(square == 0, 1).sqrt().masked_fill(square == 0, 0)
        for name, direct in (("sqeuclidean", square), ("euclidean", length)):
            (want,) = torch.autograd.grad((weight * direct).sum(), x, retain_graph=True)
            (found,) = torch.autograd.grad((weight * PointCloud(x, y, name).dense()).sum(), x)
            size = float(want.abs().max()) + 1e-6 * float(square.detach().max().sqrt())
            assert float((found - want).abs().max()) <= 1e-8 * size + 1e-300, f"seed {seed}, {name}"


def test_batches_blocks_and_half_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 1, 7, 20, generator=generator), torch.randn(2, 5, 20, generator=generator)
    y[0, 0] = x[1, 0, 2]
    geometry = PointCloud(x, y)
    want = (x.double()[..., :, None, :] - y.double()[..., None, :, :]).square().sum(-1)
    torch.testing.assert_close(geometry.dense().double(), want, rtol=1e-6, atol=0.0)
    assert geometry.dense()[1, 0, 2, 0] == 0
    torch.testing.assert_close(geometry.block([2, 5]), geometry.dense()[..., [2, 5], :])
    half = PointCloud(x.bfloat16(), y.bfloat16())
    assert half.dense().dtype == torch.bfloat16


def test_maps_see_the_same_costs() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, 4, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    points = PointCloud(x[0], y[0])._points()
    mapped = torch.vmap(lambda u, v: type(points)(u, v).block(slice(None)))(x, y)
    torch.testing.assert_close(mapped, PointCloud(x, y).dense())


def test_angles_in_many_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 30, generator=generator, dtype=torch.float64)
    y = torch.cat([x[:2], -x[2:4], x[4:] + 1e-9 * torch.randn(2, 30, generator=generator, dtype=torch.float64)])
    found = Sphere(x, y, p=1.0).dense()
    u, v = (side / side.norm(dim=-1, keepdim=True) for side in (x, y))
    want = 2 * torch.atan2((u[:, None] - v).norm(dim=-1), (u[:, None] + v).norm(dim=-1))
    torch.testing.assert_close(found, want, rtol=1e-6, atol=1e-14)
    assert found.diagonal()[:2].tolist() == pytest.approx([0.0, 0.0], abs=1e-15)

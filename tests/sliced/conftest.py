"""Clouds for the tests of slices."""

import pytest
import torch


@pytest.fixture
def clouds():
    """Two Gaussian clouds, 200 and 100 points, scale 1.5 and shift 0.3 between them."""

    def make(d, n=200, m=100, dtype=torch.float64, seed=0):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(n, d, generator=generator, dtype=torch.float64)
        y = 1.5 * torch.randn(m, d, generator=generator, dtype=torch.float64) + 0.3
        return x.to(dtype), y.to(dtype)

    return make

"""Generators: the same seed gives the same cloud, and the cloud has the shape that its name says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from monge.data import checkerboard, gaussian, mixture, moons, photographs, rings, spiral
from monge.errors import InputError

DRAW = [gaussian, mixture, moons, rings, spiral, checkerboard]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize("n", [1, 63])
def test_seeds_decide(draw: Callable[..., torch.Tensor], n: int) -> None:
    state = torch.get_rng_state()
    one = draw(n, generator=seeded(), dtype=torch.float64)
    assert one.shape == (n, 2)
    assert one.dtype == torch.float64
    assert torch.equal(one, draw(n, generator=seeded(), dtype=torch.float64))
    assert not torch.equal(one, draw(n, generator=seeded(1), dtype=torch.float64))
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(InputError, match="n must be a positive integer"):
        draw(0, generator=seeded())


def test_shapes_are_what_they_say() -> None:
    many = 4000
    centred = gaussian(many, 3, scale=2.0, generator=seeded())
    assert centred.std(0).sub(2).abs().max() < 0.1
    radius = mixture(many, 5, radius=4, scale=0.01, generator=seeded()).norm(dim=-1)
    assert radius.sub(4).abs().max() < 0.1
    moon = moons(many, noise=0.0, generator=seeded())
    torch.testing.assert_close(moon[: many // 2].norm(dim=-1), torch.ones(many // 2))
    assert moon[: many // 2, 1].min() >= 0
    assert moon[many // 2 :, 1].max() <= 0.5
    ring = rings(many, radii=(1, 3), noise=0.0, generator=seeded()).norm(dim=-1)
    assert ring.round().unique().tolist() == [1, 3]
    assert ((ring > 2).float().mean() - 0.75).abs() < 0.03
    assert spiral(many, noise=0.0, generator=seeded()).norm(dim=-1).max() <= 1
    board = ((checkerboard(many, generator=seeded()) + 1) * 2).floor().long()
    assert (board.sum(-1) % 2 == 0).all()
    assert board.unique(dim=0).shape == (8, 2)


def test_photographs() -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    for picture in photographs():
        assert picture.shape == (427, 640, 3)
        assert 0 <= picture.min() < picture.max() <= 1

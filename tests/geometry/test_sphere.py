from __future__ import annotations

import math

import pytest
import torch
from dense import assert_answers, questions, smooth_answers

from monge.errors import InputError, ShapeError
from monge.geometry import Sphere


def directions(n: int, d: int, *batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, n, d, generator=generator, dtype=torch.float64)


def arccos(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x, y = x / x.norm(dim=-1, keepdim=True), y / y.norm(dim=-1, keepdim=True)
    return torch.arccos((x @ y.mT).clamp(-1, 1))


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (1, 4, 2), (9, 6, 3), (7, 5, 12)])
def test_great_circles(p, n, m, d):
    x, y = directions(n, d), directions(m, d, seed=1)
    assert_answers(Sphere(x, y, p), arccos(x, y) ** p, tolerance=1e-7 if d == 1 else 1e-9)


def test_batches_and_problems():
    x, y = directions(5, 3, 2, 1), directions(4, 3, 3, seed=1)
    geometry = Sphere(x, y)
    assert_answers(geometry, arccos(x, y) ** 2, tolerance=1e-9)
    torch.testing.assert_close(geometry[1, 2].dense(), geometry.dense()[1, 2])


@pytest.mark.parametrize("d", [3, 20])
def test_float32(d):
    x, y = directions(9, d).float(), directions(6, d, seed=1).float()
    assert_answers(Sphere(x, y, 1), arccos(x.double(), y.double()).float(), tolerance=2e-6)


@pytest.mark.parametrize("d", [2, 3, 16])
def test_neighbours_and_antipodes_keep_their_digits(d):
    angle = torch.tensor([1e-12, 1e-9, 1e-6, 1e-3], dtype=torch.float64)
    pole, side = torch.eye(d, dtype=torch.float64)[:2]
    y = angle.cos()[:, None] * pole + angle.sin()[:, None] * side
    x = 3 * pole[None]
    torch.testing.assert_close(Sphere(x, y, 1).dense()[0], angle, rtol=1e-12, atol=0)
    # The angle to the antipode is pi less the same; only pi itself is rounded.
    torch.testing.assert_close(Sphere(x, -y, 1).dense()[0], math.pi - angle, rtol=1e-15, atol=0)
    # And the slope is one, where that of arccos is lost.
    x = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(Sphere(x, y[1:2], 1).dense().sum(), x)
    torch.testing.assert_close(grad.norm().item(), 1 / 3, rtol=1e-6, atol=0)
    single = Sphere(x.detach().float(), y.float(), 1).dense()[0, 3]
    torch.testing.assert_close(single.item(), 1e-3, rtol=1e-4, atol=0)


def test_gradients_are_finite_and_tangent():
    x = torch.eye(3, dtype=torch.float64)[:1].clone().requires_grad_()
    for p in (1, 2.0):
        (grad,) = torch.autograd.grad(Sphere(x, torch.cat([x, -x]).detach(), p).dense().sum(), x)
        assert (grad == 0).all()
    y = directions(5, 3)
    (grad,) = torch.autograd.grad(Sphere(x, y).dense().sum(), x)
    assert abs((grad * x).sum().item()) < 1e-14


@pytest.mark.parametrize("p", [1, 2.0])
def test_first_and_second_derivatives(p):
    x, y = directions(4, 3), directions(3, 3, seed=1)
    ask = questions((), 4, 3)

    def total(x, y, g):
        return smooth_answers(Sphere(x, y, p), {**ask, "g": g})

    tensors = [t.requires_grad_() for t in (x, y, ask["g"])]
    assert torch.autograd.gradcheck(total, tensors)
    assert torch.autograd.gradgradcheck(total, tensors, fast_mode=True)


def test_errors_say_what_to_do():
    with pytest.raises(InputError, match=r"2 points of x are zero, the first at \(0,\): drop them"):
        Sphere(torch.zeros(2, 3), torch.ones(2, 3))
    with pytest.raises(ShapeError, match="x has 3 coordinates and y has 2"):
        Sphere(torch.ones(2, 3), torch.ones(2, 2))
    with pytest.raises(InputError, match=r"p must lie in \[1"):
        Sphere(torch.ones(2, 3), torch.ones(2, 3), 0.0)

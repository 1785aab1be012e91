"""The inner maximum against closed forms and corners; the loss against its definition."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from monge.errors import InputError
from monge_papers.tail.comp_sum import AdversarialCompSumLoss, Ascent, adversarial_comp_sum_loss, comp_sum_loss

D = torch.float64


@pytest.fixture
def linear(generator: torch.Generator) -> torch.nn.Linear:
    """A linear network: moving the input by d moves the differences of scores by a matrix times d."""
    network = torch.nn.Linear(3, 4, dtype=D)
    with torch.no_grad():
        network.weight.copy_(torch.randn(4, 3, generator=generator, dtype=D))
    return network


@pytest.fixture
def samples(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(8, 3, generator=generator, dtype=D), torch.arange(8) % 4


def differences(weight: Tensor, labels: Tensor) -> Tensor:
    """The matrices that move the differences of scores, one for each label."""
    return weight[labels][:, None] - weight


def test_the_euclidean_maximum_of_a_linear_network(
    linear: torch.nn.Linear, samples: tuple[Tensor, Tensor], generator: torch.Generator
) -> None:
    """It is the largest singular value times the radius, and so is its derivative."""
    inputs, labels = samples
    ascent = Ascent(radius=0.3, norm=2, steps=100, length=1.0)
    found = adversarial_comp_sum_loss(linear, inputs, labels, ascent=ascent, price=2.0, generator=generator)
    expected = comp_sum_loss(linear(inputs), labels)
    expected = expected + 0.6 * torch.linalg.matrix_norm(differences(linear.weight, labels), 2).mean()
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(loss, linear.weight)[0] for loss in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_the_maximum_in_a_box_is_at_a_corner(
    linear: torch.nn.Linear, samples: tuple[Tensor, Tensor], generator: torch.Generator
) -> None:
    inputs, labels = samples
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=D)
    every = torch.linalg.vector_norm(differences(linear.weight, labels) @ corners.T, dim=1)
    plain = comp_sum_loss(linear(inputs), labels, reduction="none")
    losses = adversarial_comp_sum_loss(
        linear, inputs, labels, ascent=Ascent(radius=0.1, steps=20), reduction="none", generator=generator
    )
    found, local = ((losses - plain) / 0.1)[:, None], every.amax(1)
    assert (found.squeeze(1) <= local * (1 + 1e-9)).all()
    # A corner may be higher than its neighbours and lower than another: every answer is a corner, most are the best.
    assert ((found - every).abs() < 1e-6).any(1).all()
    assert (found.squeeze(1) / local).mean() > 0.9


@pytest.mark.parametrize("norm", [2, math.inf])
def test_points_stay_in_their_balls(norm: float, generator: torch.Generator) -> None:
    inputs = torch.randn(5, 2, 3, generator=generator, dtype=D)
    moved = Ascent(0.2, norm).worst(lambda x: x.flatten(1).square().sum(1), inputs, generator=generator) - inputs
    far = torch.linalg.vector_norm(moved.flatten(1), norm, dim=1)
    torch.testing.assert_close(far, torch.full((5,), 0.2, dtype=D))


def test_more_steps_are_never_worse(generator: torch.Generator) -> None:
    inputs = torch.randn(20, 3, generator=generator, dtype=D)

    def bumpy(x: Tensor) -> Tensor:
        return (5 * x).sin().sum(1)

    highest = [
        bumpy(Ascent(0.5, steps=steps, length=0.2).worst(bumpy, inputs, generator=torch.Generator().manual_seed(1)))
        for steps in (1, 2, 5, 20)
    ]
    assert (highest[0] >= bumpy(inputs)).all()
    for less, more in itertools.pairwise(highest):
        assert (more >= less).all()
    assert highest[-1].mean() > highest[0].mean()


def test_without_a_price_or_a_radius_the_loss_is_plain(linear: torch.nn.Linear, samples: tuple[Tensor, Tensor]) -> None:
    inputs, labels = samples
    plain = comp_sum_loss(linear(inputs) / 0.5, labels, 1.5)
    for ascent, price in ((Ascent(0.0), 1.0), (Ascent(0.1), 0.0), (Ascent(0.0, 2), 1.0)):
        found = AdversarialCompSumLoss(1.5, ascent=ascent, price=price, margin=0.5)(linear, inputs, labels)
        torch.testing.assert_close(found, plain)
        assert torch.autograd.grad(found, linear.weight)[0].isfinite().all()


def test_the_ascent_leaves_nothing_behind(linear: torch.nn.Linear, samples: tuple[Tensor, Tensor]) -> None:
    inputs, labels = samples
    before = inputs.clone()
    with torch.no_grad():
        loss = adversarial_comp_sum_loss(linear, inputs, labels, ascent=Ascent(0.1), reduction="sum")
    assert loss > comp_sum_loss(linear(inputs), labels, reduction="sum")
    assert linear.weight.grad is None
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad


def test_randomness_is_handed_in(linear: torch.nn.Linear, samples: tuple[Tensor, Tensor]) -> None:
    loss = AdversarialCompSumLoss(ascent=Ascent(0.1, steps=1), reduction="none")
    first, again, other = (loss(linear, *samples, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"radius": -1.0}, "radius must lie in"),
        ({"radius": math.nan}, "radius must lie in"),
        ({"radius": 1.0, "norm": 1}, "norm=1 is unknown: choose 2 or math.inf"),
        ({"radius": 1.0, "steps": 0}, "steps must be at least 1"),
        ({"radius": 1.0, "length": 0.0}, "length must lie in"),
    ],
)
def test_settings_of_the_ascent(settings: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Ascent(**settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"order": -1.0}, "order must lie in"),
        ({"price": -1.0}, "price must lie in"),
        ({"margin": 0.0}, "margin must lie in"),
        ({"reduction": "average"}, "reduction='average' is unknown"),
    ],
)
def test_settings_of_the_loss(settings: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        AdversarialCompSumLoss(ascent=Ascent(0.1), **settings)


def test_the_settings_are_told() -> None:
    told = repr(AdversarialCompSumLoss(ascent=Ascent(0.1)))
    assert "ascent=Ascent(radius=0.1, norm=inf, steps=10, length=None), price=1.0, margin=1.0" in told

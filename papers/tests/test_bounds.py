"""The least risk against brute force, the bound against every network and distribution that chance offers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from monge.errors import InputError
from monge_papers.tail.comp_sum import comp_sum_loss, least_risk, zero_one_bound

D = torch.float64
ORDERS = (0.0, 0.5, 0.99, 1.0, 1.01, 1.5, 1.9, 2.0, 3.0)


def risk(scores: Tensor, probabilities: Tensor, order: float) -> Tensor:
    return comp_sum_loss(scores, probabilities, order, reduction="none")


@pytest.mark.parametrize("order", ORDERS)
def test_the_least_risk(order: float, generator: torch.Generator) -> None:
    """It is reached by the scores that the documentation names, and by no others undercut."""
    p = torch.rand(50, 4, generator=generator, dtype=D)
    p = p / p.sum(1, keepdim=True)
    least = least_risk(p, order)
    best = p.log() / (2 - order) if order < 2 else 1e3 * (p == p.amax(1, keepdim=True)).double()
    torch.testing.assert_close(risk(best, p, order), least, rtol=1e-9, atol=1e-9)
    for size in (0.01, 0.3, 3.0):
        nearby = best + size * torch.randn(50, 4, generator=generator, dtype=D)
        assert (risk(nearby, p, order) >= least - 1e-12).all()


@pytest.mark.parametrize("order", ORDERS)
def test_a_certain_class_costs_nothing(order: float) -> None:
    assert least_risk(torch.tensor([0.0, 1.0, 0.0], dtype=D), order).abs() < 1e-12


@pytest.mark.parametrize("edge", [1.0, 2.0])
def test_the_least_risk_has_no_jumps(edge: float) -> None:
    p = torch.tensor([0.6, 0.3, 0.1], dtype=D)
    for step in (1e-4, 1e-6, 1e-8, 1e-10):
        below, above = (least_risk(p, edge + sign * step) for sign in (-1, 1))
        assert abs(below - above) < 3 * step + 1e-8


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("order", ORDERS)
def test_the_bound_holds(order: float, classes: int, generator: torch.Generator) -> None:
    p = (4 * torch.randn(20_000, classes, generator=generator, dtype=D)).softmax(1)
    scores = (
        4 * torch.rand(20_000, 1, generator=generator, dtype=D) * torch.randn(p.shape, generator=generator, dtype=D)
    )
    loss = (risk(scores, p, order) - least_risk(p, order)).clamp_min(0)
    errors = p.amax(1) - p.gather(1, scores.argmax(1, keepdim=True)).squeeze(1)
    assert (errors <= zero_one_bound(loss, order, classes) + 1e-9).all()
    # Over many inputs too, since the bound is concave.
    assert errors.mean() <= zero_one_bound(loss.mean(), order, classes)


@pytest.mark.parametrize("order", [order for order in ORDERS if order <= 1])
def test_the_bound_is_reached(order: float) -> None:
    """Two classes that are nearly alike, and scores that do not decide."""
    for t, slack in ((0.3, 0.05), (0.03, 1e-3), (0.003, 1e-4)):
        p = torch.tensor([(1 + t) / 2, (1 - t) / 2], dtype=D)
        excess = risk(torch.zeros(2, dtype=D), p, order) - least_risk(p, order)
        assert t <= zero_one_bound(excess, order, 2) * (1 + 1e-6)
        assert zero_one_bound(excess, order, 2) <= t * (1 + slack)


def test_golden_bounds() -> None:
    found = [zero_one_bound(0.08, order, 4) for order in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)]
    expected = [0.4, math.sqrt(math.sqrt(2) * 1.5 * 0.08), 0.4, math.sqrt(2 * 2 * 0.08), 0.32, 2.56]
    torch.testing.assert_close(torch.stack(found), torch.tensor(expected))


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="excess must be non-negative"):
        zero_one_bound(-0.1, 1.0, 3)
    with pytest.raises(InputError, match="excess must be non-negative"):
        zero_one_bound(math.nan, 1.0, 3)
    with pytest.raises(InputError, match="classes must be at least 2"):
        zero_one_bound(0.1, 1.0, 1)
    with pytest.raises(InputError, match="order must lie in"):
        zero_one_bound(0.1, -1.0, 3)
    with pytest.raises(InputError, match="order must lie in"):
        least_risk(torch.tensor([0.5, 0.5]), math.nan)
    for p in ([0.5, 0.6], [1.5, -0.5], [math.nan, 0.5]):
        with pytest.raises(InputError, match="non-negative with sum 1"):
            least_risk(torch.tensor(p))

"""The conformance suite of penalties: five formulas that must tell of one price."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge.problem import Penalty

from ._question import compare

__all__ = ["check_penalty"]

ALLOWED = {"rtol": 1e-7, "atol": 1e-9}


def check_penalty(penalty: type[Penalty], *, rho: float = 0.7, epsilon: float = 0.3) -> None:
    """Compare the formulas of a penalty with each other, in float64.

    The price is non-negative, zero at the weights, and convex. The conjugate is the minimum of price and f mu: no mu on
    a grid is below it, and `Penalty.mass_at` attains it. Masses are the derivatives of the conjugate and curvatures
    those of the masses, with a minus, away from kinks. The maximiser balances the mass that is implied with that of the
    plan. What `Penalty.rates` and `Penalty.exponential` say is so. An absent point has no mass and no term.

    Args:
        penalty: The class.
        rho: A strength.
        epsilon: A temperature.

    Raises:
        AssertionError: If two formulas contradict each other; the message names them.

    Example:
        >>> from monge.problem import PENALTIES
        >>> from monge.testing import check_penalty
        >>> check_penalty(PENALTIES["kl"])
    """
    a = torch.tensor([0.2, 0.5, 1.3, 0.0], dtype=torch.float64)
    made = penalty(a, rho)
    _check_price(made, a)
    # Between multiples of rho, where kinks like to be.
    f = (torch.linspace(-1.85, 1.85, 38, dtype=torch.float64) * rho)[:, None].expand(-1, 4)
    _check_conjugate(made, a, f)
    _check_derivatives(made, a, f)
    _check_maximiser(made, a, f, epsilon)
    _check_told(made, a, f, rho)


def _check_price(made: Penalty, a: Tensor) -> None:
    price = made.price(a)
    compare("price(a)", price, torch.zeros_like(price), ALLOWED, "must be zero")
    mu = torch.linspace(0, 3, 31, dtype=torch.float64)[:, None] * torch.ones_like(a)
    price = made.price(mu)[:, a > 0]
    assert not price.isnan().any(), "price(mu) must not be NaN."
    assert (price >= 0).all(), "price(mu) must not be negative."
    assert ((price[2:] + price[:-2]) / 2 >= price[1:-1] - 1e-9).all(), "price(mu) must be convex."


def _check_conjugate(made: Penalty, a: Tensor, f: Tensor) -> None:
    found, mu = made.conjugate(f), made.mass_at(f)
    assert not found.isnan().any(), "conjugate(f) must not be NaN."
    assert (found[:, a == 0] == 0).all(), "conjugate(f) must be zero at absent points."
    assert (mu[:, a == 0] == 0).all(), "mass_at(f) must be zero at absent points."
    assert (mu >= 0).all(), "mass_at(f) must not be negative."
    there = (a > 0) & found.isfinite()
    assert there.any(), "conjugate(f) must be finite for some f."
    attained = made.price(torch.where(there, mu, a)) + f * torch.where(there, mu, a)
    compare("conjugate(f)", found[there], attained[there], ALLOWED, "is not price(mu) + f mu at mu = mass_at(f)")
    for share in torch.linspace(0, 6, 61, dtype=torch.float64):
        bound = made.price(share * a) + f * share * a
        assert (found <= bound + 1e-9)[there].all(), "conjugate(f) must not be above price(mu) + f mu, for no mu."


def _check_derivatives(made: Penalty, a: Tensor, f: Tensor) -> None:
    step, there = 1e-5, (a > 0) & made.conjugate(f).isfinite()
    for name, of, derivative in (
        ("mass_at(f)", made.conjugate, made.mass_at(f)),
        ("curvature(f)", lambda at: -made.mass_at(at), made.curvature(f)),
    ):
        known = there & derivative.isfinite()
        difference = (of(f + step) - of(f - step)) / (2 * step)
        compare(name, derivative[known], difference[known], {"rtol": 1e-4, "atol": 1e-6}, "differs from differences")
    assert (made.curvature(f)[there] >= 0).all(), "curvature(f) must not be negative."


def _check_maximiser(made: Penalty, a: Tensor, q: Tensor, epsilon: float) -> None:
    f = made.maximiser(q, epsilon)

    def dual(at: Tensor) -> Tensor:
        return made.conjugate(at) - epsilon * a * torch.exp((at - q) / epsilon)

    best, there = dual(f), a > 0
    assert best[:, there].isfinite().all(), "maximiser(q, epsilon) must lie where the conjugate is finite."
    for shift in (-1.0, -0.1, -1e-3, 1e-3, 0.1, 1.0):
        assert (dual(f + shift) <= best + 1e-9)[:, there].all(), (
            "maximiser(q, epsilon) must be the best f of conjugate(f) - epsilon a exp((f - q) / epsilon)."
        )
    far = made.maximiser(torch.full_like(q, math.inf), epsilon)
    assert far[:, there].isfinite().all(), "maximiser(q, epsilon) must be finite for points that can reach nothing."


def _check_told(made: Penalty, a: Tensor, f: Tensor, rho: float) -> None:
    if made.rates is not None:
        missing, excess = made.rates
        for share, rate in ((0.4, missing), (1.7, excess)):
            wanted = rate * rho * abs(share - 1) * a
            compare("price(mu)", made.price(share * a), wanted, ALLOWED, "is not what rates says")
    if made.exponential:
        compare("mass_at(f)", made.mass_at(f), a * torch.exp(-f / rho), ALLOWED, "is not a exp(-f / rho)")

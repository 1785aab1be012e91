"""The suite of penalties: ours pass, and of every way to be wrong one is caught."""

from __future__ import annotations

import pytest

from lopsided import Lopsided
from monge.problem import PENALTIES, Penalty
from monge.testing import check_penalty

KL, L2, TV = (PENALTIES[name] for name in ("kl", "l2", "tv"))


@pytest.mark.parametrize("name", ["kl", "l2", "tv"])
@pytest.mark.parametrize(("rho", "epsilon"), [(0.7, 0.3), (5.0, 0.01), (0.05, 1.0)])
def test_ours_pass(name: str, rho: float, epsilon: float) -> None:
    check_penalty(PENALTIES[name], rho=rho, epsilon=epsilon)


def test_a_stranger_passes() -> None:
    check_penalty(Lopsided)


def broken(base: type[Penalty], **wrong) -> type[Penalty]:
    return type("Broken", (base,), wrong)


SABOTAGE = {
    "a price at the weights": (broken(KL, price=lambda self, mu: KL.price(self, mu) + 0.1), "must be zero"),
    "a negative price": (broken(L2, price=lambda self, mu: -L2.price(self, mu)), "must not be negative"),
    "a price that is not convex": (
        broken(L2, price=lambda self, mu: self.rho * (mu - self.a).abs().sqrt()),
        "must be convex",
    ),
    "another conjugate": (broken(KL, conjugate=lambda self, f: 2 * KL.conjugate(self, f)), "is not price"),
    "mass at absent points": (broken(KL, mass_at=lambda self, f: KL.mass_at(self, f) + 0.1), "zero at absent points"),
    "a term of absent points": (
        broken(KL, conjugate=lambda self, f: KL.conjugate(self, f) + 0.1),
        "conjugate.* zero at absent points",
    ),
    "another curvature": (broken(KL, curvature=lambda self, f: 2 * KL.curvature(self, f)), "curvature.*differences"),
    "another maximiser": (broken(KL, maximiser=lambda self, q, epsilon: q), "must be the best f"),
    "an infinite maximiser": (
        broken(KL, maximiser=lambda self, q, epsilon: q / (1 + epsilon / self.rho)),
        "must be finite for points",
    ),
    "other rates": (broken(TV, rates=(1.0, 2.0)), "is not what rates says"),
    "no exponential": (broken(L2, exponential=True), "is not a exp"),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_a_broken_one_is_caught(name: str) -> None:
    penalty, told = SABOTAGE[name]
    with pytest.raises(AssertionError, match=told):
        check_penalty(penalty)

"""Under autocast, public functions answer as they do without it: costs and projections are not rounded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import monge
from monge.geometry import PointCloud

generator = torch.Generator().manual_seed(0)
X = torch.randn(60, 16, generator=generator) + 3
Y = torch.randn(70, 16, generator=generator) + 4
V = torch.randn(70, 3, generator=generator)


def entropic() -> monge.Coupling:
    return monge.couple(X, Y, epsilon=monge.relative(0.1))


QUESTIONS: dict[str, Callable[[], Tensor]] = {
    "plan": lambda: entropic().dense(),
    "plan, newton": lambda: monge.couple(X, Y, epsilon=2.0, solver=monge.solver.Newton()).dense(),
    "plan, unbalanced": lambda: monge.couple(X, Y, epsilon=2.0, rho=3.0).dense(),
    "plan, exact": lambda: monge.couple(X, Y).dense(),
    "product": lambda: entropic() @ V,
    "barycentric": lambda: entropic().barycentric(V),
    "marginals": lambda: entropic().marginals()[1],
    "map": lambda: entropic().map(X[:9] + 0.1),
    "cost": lambda: entropic().transport_cost(),
    "value": lambda: monge.solve(monge.Linear(PointCloud(X, Y), epsilon=2.0)).value,
    "divergence": lambda: monge.divergence(X, Y, epsilon=2.0),
    "wasserstein": lambda: monge.wasserstein(X, Y),
    "pairwise": lambda: monge.pairwise([X, Y, X[:30]], epsilon=1.0),
    "costs": lambda: PointCloud(X, Y).dense(),
    "sliced": lambda: monge.sliced.sliced_wasserstein(X, Y, generator=torch.Generator().manual_seed(0)).distance,
    "matching": lambda: monge.linear_assignment(PointCloud(X, Y).dense()).col,
}


@pytest.mark.parametrize("name", list(QUESTIONS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_answers_do_not_change(name: str, dtype: torch.dtype) -> None:
    expected = QUESTIONS[name]()
    with torch.autocast("cpu", dtype):
        found = QUESTIONS[name]()
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_gradients_do_not_change() -> None:
    def slope() -> Tensor:
        x = X.clone().requires_grad_()
        monge.divergence(x, Y, epsilon=2.0).backward()
        assert x.grad is not None
        return x.grad

    expected = slope()
    with torch.autocast("cpu", torch.bfloat16):
        found = slope()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_modules_decide_for_themselves() -> None:
    attention = monge.nn.Attention(16, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(X)[0].dtype == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")

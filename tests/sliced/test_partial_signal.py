"""Partial transport L^p distances: limits in both parameters, robustness, gradients, classification of signals."""

import pytest
import torch

import monge
from monge.errors import InputError, ShapeError
from monge.geometry import PointCloud
from monge.problem import Linear, Relaxed
from monge.sliced import partial_cost
from monge.sliced.partial import partial_transport_lp, signal_graph, sliced_partial_transport_lp


def signals(n=24, k=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, generator=g).double(), torch.randn(n, k, generator=g).double()


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_limits(p):
    f, g = signals(k=1)
    n = len(f)
    x = ((torch.arange(n) + 0.5) / n).double()[:, None]
    # A large penalty: the transport L^p distance, a balanced problem on graphs.
    cost = ((x - x.T).abs() ** p / 0.3) + (f - g.T).abs() ** p
    balanced = monge.solve(Linear(monge.geometry.CostMatrix(cost))).value
    torch.testing.assert_close(partial_transport_lp(f, g, penalty=1e3, beta=0.3, p=p), balanced)
    # A small beta: nothing moves.
    still = ((f - g).abs() ** p).clamp_max(2 * 0.4).mean()
    torch.testing.assert_close(partial_transport_lp(f, g, penalty=0.4, beta=1e-9, p=p), still)
    # A large beta: only the distributions of the values count.
    values = partial_cost(f[:, 0], g[:, 0], penalty=0.4, p=p) / n
    torch.testing.assert_close(partial_transport_lp(f, g, penalty=0.4, beta=1e9, p=p), values, rtol=1e-6, atol=1e-8)
    # No signal: the places alone.
    y = x.square()
    weights = torch.full((n,), 1 / n).double()
    only = partial_transport_lp(0 * f, 0 * g, x=x, y=y, penalty=0.01, beta=0.5, p=p)
    places = partial_cost(x[:, 0], y[:, 0], weights, weights, penalty=0.01 * 0.5, p=p) / 0.5
    torch.testing.assert_close(only, places)


def test_the_sliced_form_slices_the_lifted_clouds():
    f, g = signals()
    exact = partial_transport_lp(f, g, penalty=0.5, beta=0.2)
    sliced = sliced_partial_transport_lp(f, g, penalty=0.5, beta=0.2, slices=60)
    assert 0 < sliced.cost <= exact
    lifted = [signal_graph(side, beta=0.2) for side in (f, g)]
    sides = [Relaxed(torch.full((24,), 1 / 24).double(), 0.5, "tv")] * 2
    torch.testing.assert_close(exact, monge.solve(Linear(PointCloud(*lifted), *sides)).value)


def test_a_burst_costs_its_length():
    f, _ = signals(100, 1)
    burst = f.clone()
    burst[40:50] += 100.0
    for compare in (partial_transport_lp, lambda *s, **k: sliced_partial_transport_lp(*s, **k).cost):
        value = compare(f, burst, penalty=0.2, beta=0.1)
        assert 0 < value <= 2 * 0.2 * 0.1 + 1e-9


def test_roots_satisfy_the_triangle_inequality():
    sets = [signals(n, 1, seed)[0] for n, seed in ((12, 1), (9, 2), (15, 3))]
    for p in (1.0, 2.0):
        xy, yz, xz = (
            partial_transport_lp(sets[k], sets[l], penalty=0.3, p=p) ** (1 / p) for k, l in ((0, 1), (1, 2), (0, 2))
        )
        assert xz <= xy + yz + 1e-12


def test_gradients():
    f, g = (side[:7].requires_grad_() for side in signals())
    theta = torch.nn.functional.normalize(torch.randn(3, 3).double(), dim=-1)
    assert torch.autograd.gradcheck(lambda f, g: partial_transport_lp(f, g, penalty=1.1, beta=0.3), (f, g), atol=1e-5)
    assert torch.autograd.gradcheck(
        lambda f, g: sliced_partial_transport_lp(f, g, penalty=0.4, theta=theta).cost, (f, g), atol=1e-5
    )


def test_nearest_neighbours_of_shifted_signals_with_gaps():
    """Shifted, noisy, with a missing stretch: partial transport beats transport, which beats values or places alone."""
    g = torch.Generator().manual_seed(0)
    t = torch.linspace(0, 1, 50).double()
    kinds = [
        lambda s: torch.exp(-(((s - 0.5) / 0.04) ** 2)),
        lambda s: torch.exp(-(((s - 0.42) / 0.04) ** 2)) + torch.exp(-(((s - 0.58) / 0.04) ** 2)),
        lambda s: torch.exp(-(((s - 0.5) / 0.04) ** 2)) - torch.exp(-(((s - 0.62) / 0.04) ** 2)),
    ]

    def draw(kind):
        shift = 0.24 * (torch.rand((), generator=g).double() - 0.5)
        signal = kinds[kind](t - shift) + 0.05 * torch.randn(50, generator=g).double()
        start = int(torch.randint(0, 44, (), generator=g))
        signal[start : start + 6] = 3.0
        return signal[:, None]

    labels = torch.arange(3).repeat_interleave(8)
    train, test = (torch.stack([draw(int(k)) for k in labels]) for _ in range(2))
    measures = {
        "partial": lambda f, h: partial_transport_lp(f, h, penalty=0.15, beta=0.3),
        "sliced": lambda f, h: sliced_partial_transport_lp(f, h, penalty=0.05, beta=0.3, theta=_fan(40).T).cost,
        "plain": lambda f, h: (f - h).square().mean((-1, -2)),
    }
    right = {}
    for name, measure in measures.items():
        table = torch.stack([measure(one.expand(24, 50, 1), train) for one in test])
        right[name] = float((labels[table.argmin(-1)] == labels).double().mean())
    assert right["partial"] > right["plain"] + 0.15
    assert right["sliced"] > right["plain"]


def _fan(count):
    angle = torch.arange(count).double() / count * torch.pi
    return torch.stack([angle.cos(), angle.sin()])


def test_wrong_input_is_told():
    f, g = signals()
    with pytest.raises(ShapeError, match="same channels"):
        partial_transport_lp(f, g[:, :1], penalty=1.0)
    with pytest.raises(InputError, match="beta"):
        partial_transport_lp(f, g, penalty=1.0, beta=0.0)
    with pytest.raises(ShapeError, match="one place per value"):
        sliced_partial_transport_lp(f, g, penalty=1.0, x=torch.rand(3, 1).double())

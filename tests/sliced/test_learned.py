"""Directions that are searched for, slicers that are learned and transferred, soft sorting."""

import math

import pytest
import torch

import monge
from draws import generator
from monge.errors import InputError, ShapeError
from monge.geometry import PointCloud
from monge.sliced import directions, search_direction
from monge.sliced.plan import SetTransformer, TransferableSlicer, lap_sort, soft_sort


def rings_and_moons(n=64, angle=0.0, size=0.6):
    """Eight Gaussians and two moons, turned and scaled."""
    g = generator(n)
    corner = torch.randint(8, (n,), generator=g) * (math.pi / 4)
    x = 2 * torch.stack([corner.cos(), corner.sin()], -1) + 0.15 * torch.randn(n, 2, generator=g)
    t = math.pi * torch.rand(n, generator=g)
    side = torch.randint(2, (n,), generator=g).float()
    y = torch.stack([t.cos() * (1 - 2 * side) + side, t.sin() * (1 - 2 * side) + 0.5 * side], -1)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return x, size * (y - y.mean(0)) @ turn.T + 0.05 * torch.randn(n, 2, generator=g)


@pytest.mark.parametrize("method", ["random", "annealing", "stein", "replicas"])
def test_every_search_finds_the_line(method, clouds):
    x, _ = clouds(6, 60, 60)
    axis = torch.nn.functional.normalize(torch.arange(1.0, 7.0, dtype=x.dtype), dim=0)
    y = torch.linspace(-2, 2, 60, dtype=x.dtype)[:, None] * axis
    exact = monge.solve(monge.Linear(PointCloud(x, y))).value
    theta, cost = search_direction(x, y, method=method, generator=generator())
    assert exact - 1e-9 <= cost <= 1.02 * exact
    assert theta.norm().item() == pytest.approx(1.0)


@pytest.mark.parametrize("method", ["stein", "replicas"])
def test_smooth_slopes_go_farther_than_random_directions_in_many_dimensions(method):
    g = generator(2)
    x = torch.randn(80, 20, generator=g, dtype=torch.float64)
    y = torch.randn(80, 20, generator=g, dtype=torch.float64) * torch.linspace(0.3, 2, 20, dtype=torch.float64)
    start = directions(1, 20, generator=g, dtype=x.dtype)[0]
    _, descended = search_direction(x, y, method=method, start=start, generator=generator())
    _, drawn = search_direction(x, y, method="random", samples=2, start=start, generator=generator())
    assert descended < drawn


def test_search_is_never_worse_than_its_start_and_repeats(clouds):
    x, y = clouds(4, 40, 40)
    start = torch.tensor([1.0, 0, 0, 0], dtype=x.dtype)
    _, first = search_direction(x, y, start=start, steps=0)
    theta, better = search_direction(x, y, start=start, steps=20, generator=generator())
    again, _ = search_direction(x, y, start=start, steps=20, generator=generator())
    assert better <= first
    assert torch.equal(theta, again)


def test_training_lowers_the_hard_cost_and_transfers():
    torch.manual_seed(0)
    slicer = TransferableSlicer(dimension=2, cost="euclidean")

    def hard(pair):
        return slicer.couple(*pair).transport_cost(PointCloud(*pair, "euclidean")).item()

    tasks = [rings_and_moons(96, angle=0.26 * k, size=0.5 + 0.03 * k) for k in range(3)]
    exact = [monge.solve(monge.Linear(PointCloud(*pair, "euclidean"))).value.item() for pair in tasks]
    random = [hard(pair) for pair in tasks]
    for k, pair in enumerate(tasks):
        transferred = hard(pair)
        slicer.fit(*pair, steps=100 if k == 0 else 50, learning_rate=3e-2)
        trained = hard(pair)
        assert exact[k] - 1e-6 <= trained < exact[k] + 0.4 * (random[k] - exact[k])
        if k:  # before a single step on this pair
            assert transferred < 1.2 * trained
            assert transferred < exact[k] + 0.6 * (random[k] - exact[k])


def test_stein_smoothing_of_a_linear_slicer_finds_the_best_direction():
    x, y = rings_and_moons(200)
    _, lowest = search_direction(x, y, generator=generator())
    torch.manual_seed(0)
    slicer = TransferableSlicer(torch.nn.Linear(2, 1, bias=False))
    before = slicer.couple(x, y).transport_cost(PointCloud(x, y)).item()
    costs = slicer.fit(
        x, y, steps=60, learning_rate=3e-2, smoothing="stein", scale=0.2, samples=8, generator=generator()
    )
    after = slicer.couple(x, y).transport_cost(PointCloud(x, y)).item()
    assert costs.isfinite().all()
    assert lowest - 1e-6 <= after < lowest + 0.3 * (before - lowest)


def test_amortised_over_pairs_it_couples_new_ones():
    torch.manual_seed(0)
    turns = [rings_and_moons(48, angle=0.05 * k) for k in range(9)]
    slicer = TransferableSlicer(SetTransformer(2, width=16, inducing=4), cost="euclidean")

    def cost(pairs):
        return sum(slicer.couple(*pair).transport_cost(PointCloud(*pair, "euclidean")).item() for pair in pairs)

    unseen = turns[1::2]
    exact = sum(monge.solve(monge.Linear(PointCloud(*pair, "euclidean"))).value.item() for pair in unseen)
    before = cost(unseen)
    slicer.fit_pairs(turns[::2], steps=120, generator=generator())
    assert cost(unseen) < exact + 0.6 * (before - exact)


def test_larger_minibatches_train_better_slicers():
    x, y = rings_and_moons(192)
    found = []
    for size in (12, 96):
        torch.manual_seed(0)
        slicer = TransferableSlicer(dimension=2, cost="euclidean")
        slicer.fit(x, y, steps=80, batch=size, generator=generator())
        found.append(slicer.couple(x, y).transport_cost(PointCloud(x, y, "euclidean")).item())
    assert found[1] < found[0]


def test_minibatches_and_unequal_sizes_train_too():
    torch.manual_seed(0)
    x, y = rings_and_moons(80)
    slicer = TransferableSlicer(dimension=2)
    before = slicer.couple(x, y[:50]).transport_cost(PointCloud(x, y[:50])).item()
    slicer.fit(x, y[:50], steps=120, batch=32, generator=generator())
    plan = slicer.couple(x, y[:50])
    assert plan.transport_cost(PointCloud(x, y[:50])).item() < before
    torch.testing.assert_close(plan.marginals()[1], torch.full((50,), 1 / 50))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("kind", ["normal", "ties", "wide"])
def test_lap_sort_is_doubly_stochastic_at_every_scale(scale, kind):
    scores = torch.randn(3, 17, generator=generator(), dtype=torch.float64)
    scores = {"normal": scores, "ties": scores.round(), "wide": 1e4 * scores}[kind]
    soft = lap_sort(scores, scale)
    one = torch.ones(3, 17, dtype=torch.float64)
    torch.testing.assert_close(soft.sum(-1), one, rtol=0, atol=1e-9)
    torch.testing.assert_close(soft.sum(-2), one, rtol=0, atol=1e-9)
    assert soft.min() >= -1e-12


def test_lap_sort_symmetries_limits_and_gradient():
    scores = torch.randn(6, generator=generator(), dtype=torch.float64)
    order = torch.randperm(6, generator=generator())
    soft = lap_sort(scores, 0.3)
    torch.testing.assert_close(lap_sort(scores + 7, 0.3), soft)
    torch.testing.assert_close(lap_sort(5 * scores, 1.5), soft)
    torch.testing.assert_close(lap_sort(scores[order], 0.3), soft[:, order])
    hard = torch.nn.functional.one_hot(scores.argsort(descending=True)).double()
    torch.testing.assert_close(lap_sort(scores, 1e-5), hard)
    assert torch.autograd.gradcheck(lambda s: lap_sort(s, 0.7), (scores.clone().requires_grad_(),))
    assert lap_sort(scores.float()[:1], 1.0).item() == 1.0


def test_soft_sort_rows_and_straight_through():
    scores = torch.randn(5, generator=generator(), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(soft_sort(scores, 0.5).sum(-1), torch.ones(5, dtype=torch.float64))
    hard = soft_sort(scores, 0.5, hard=True)
    assert set(hard.detach().round(decimals=9).unique().tolist()) == {0.0, 1.0}
    values = torch.arange(5.0, dtype=torch.float64)
    slopes = [torch.autograd.grad((m @ values).square().sum(), scores)[0] for m in (hard, soft_sort(scores, 0.5))]
    assert all(slope.isfinite().all() and slope.abs().sum() > 0 for slope in slopes)


def test_wrong_input_is_told(clouds):
    x, y = clouds(3, 6, 5)
    with pytest.raises(InputError, match="method='stein'"):
        search_direction(x, y, method="replicas")
    with pytest.raises(InputError, match="smoothing='lapse' is unknown"):
        TransferableSlicer(dimension=3).fit(x, y, smoothing="lapse")
    with pytest.raises(InputError, match="at least one pair"):
        TransferableSlicer(dimension=3).fit_pairs([])
    with pytest.raises(ShapeError, match="dimension must be given"):
        TransferableSlicer()

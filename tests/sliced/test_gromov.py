"""Gromov-Wasserstein by slices: losses of given plans, bounds by brute force, isometries, amortised slicers."""

import itertools

import pytest
import torch

from draws import cloud, generator
from monge.coupling import DenseCoupling, MixtureCoupling, PermutationCoupling, ProductCoupling
from monge.errors import InputError, ShapeError
from monge.geometry import CostMatrix, PointCloud
from monge.sliced import Gromov, Linear, directions, gromov_cost, rotations, sliced_gromov_wasserstein
from monge.sliced._aligned_clouds import Clouds
from monge.sliced.gromov import GromovSlicer, best_gromov_plan, distance_profiles
from monge.sliced.plan import SetTransformer, lifted_plans, monotone_plan, sine_network
from monge.testing import LargestTensor


def definition(plan, left, right):
    dense = plan.dense()
    return torch.einsum("ikjl,ij,kl->", (left[:, :, None, None] - right[None, None]).square(), dense, dense)


def exact(left, right):
    """The least loss over bijections."""
    order = torch.tensor(list(itertools.permutations(range(len(left)))))
    return (left - right[order[:, :, None], order[:, None, :]]).square().mean((-1, -2)).min()


@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
@pytest.mark.parametrize("kind", ["permutation", "staircase", "weighted", "product", "mixture", "dense"])
def test_the_loss_of_every_kind_of_plan(cost, kind):
    n, m = (6, 6) if kind in ("permutation", "mixture") else (6, 5)
    x, y = cloud(n, 3, 0), cloud(m, 2, 1)
    a, b = torch.rand(n, generator=generator(2)).double(), torch.rand(m, generator=generator(3)).double()
    a, b = a / a.sum(), b / b.sum()
    plan = {
        "permutation": lambda: monotone_plan(x[:, 0], y[:, 0]),
        "staircase": lambda: monotone_plan(x[:, 0], y[:, 0]),
        "weighted": lambda: monotone_plan(x[:, 0], y[:, 0], a, b),
        "product": lambda: ProductCoupling(a, b),
        "mixture": lambda: MixtureCoupling(monotone_plan(x.T[:2], y.T[:2])),
        "dense": lambda: DenseCoupling(a[:, None] * b),
    }[kind]()
    spaces = [PointCloud(side, side, cost) for side in (x, y)]
    expected = definition(plan, *(space.dense() for space in spaces))
    torch.testing.assert_close(gromov_cost(plan, *spaces), expected)
    if cost == "sqeuclidean":
        torch.testing.assert_close(gromov_cost(plan, x, y), expected)
    sampled = gromov_cost(plan, *spaces, samples=100_000, generator=generator())
    torch.testing.assert_close(sampled, expected, rtol=0.05, atol=0)


def test_the_loss_is_batched_and_differentiable():
    x, y = cloud(7, 3, 0), cloud(7, 2, 1)
    plans = lifted_plans(
        x, y.new_zeros(7, 3).index_copy(1, torch.tensor([0, 1]), y), slicer=Linear(torch.eye(3).double())
    )
    for spaces in ((x, y), (PointCloud(x, x, "euclidean"), PointCloud(y, y, "euclidean"))):
        together = gromov_cost(plans, *spaces)
        torch.testing.assert_close(together, torch.stack([gromov_cost(plans[k], *spaces) for k in range(3)]))
    plan = plans[0]
    leaves = (x.requires_grad_(), y.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, y: gromov_cost(plan, x, y), leaves)
    matrix = torch.rand(7, 7, generator=generator()).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda P: gromov_cost(DenseCoupling(P), x.detach(), y.detach()), (matrix,))


def test_thin_products_never_meet_a_square_matrix():
    n = 20_000
    x, y = torch.randn(n, 3, generator=generator()), torch.randn(n, 3, generator=generator(1))
    plan = PermutationCoupling(torch.randperm(n, generator=generator()))
    with LargestTensor() as seen:
        gromov_cost(plan, x, y)
    assert seen.numbers <= 12 * n


def test_no_plan_beats_brute_force():
    for seed, n in enumerate((5, 6, 7)):
        x, y = cloud(n, 2, seed), cloud(n, 3, seed + 10)
        least = exact(PointCloud(x, x).dense(), PointCloud(y, y).dense())
        theta = directions(12, 3, generator=generator(seed), dtype=x.dtype)
        plan = best_gromov_plan(x, y, slicer=Linear(theta[:, :2]), slicer_y=Linear(theta))
        assert gromov_cost(plan, x, y) >= least - 1e-9
        torch.manual_seed(seed)
        slicer = GromovSlicer(dimensions=(2, 3)).double()
        slicer.fit(x, y, steps=30, restarts=2, generator=generator(seed))
        found = gromov_cost(slicer.couple(x, y), x, y)
        assert least - 1e-9 <= found
        average = gromov_cost(ProductCoupling(x.new_full((n,), 1 / n), x.new_full((n,), 1 / n)), x, y)
        assert found < least + 0.5 * (average - least)


def test_the_truth_of_an_isometry_is_zero_and_stationary():
    x = cloud(12, 3, 0)
    turn = rotations(1, 3, generator=generator())[0]
    y = x @ turn - 2
    lift = torch.nn.Linear(3, 3, dtype=x.dtype)
    with torch.no_grad():
        lift.weight.copy_(turn.T)
        lift.bias.fill_(-2)
    torch.manual_seed(0)
    slicer = GromovSlicer(sine_network(3).double(), lift)
    plan = slicer.couple(x, y)
    assert (plan.assignment() == torch.arange(12)).all()
    assert gromov_cost(plan, x, y) < 1e-10
    loss = slicer.loss(x, y, 1e-4)
    assert loss < 1e-9
    slopes = torch.autograd.grad(loss, list(slicer.parameters()))
    assert max(slope.abs().max() for slope in slopes) < 1e-7


def test_distances_and_profiles_do_not_see_rigid_motions():
    x, y = cloud(14, 3, 0), cloud(14, 3, 1)
    turn, order = rotations(1, 3, generator=generator())[0], torch.randperm(14, generator=generator())
    moved = (x @ turn + 5)[order]
    plan = monotone_plan(x[:, 0], y[:, 0])
    shuffled = monotone_plan(x[order, 0], y[:, 0])
    torch.testing.assert_close(gromov_cost(shuffled, moved, y), gromov_cost(plan, x, y))
    spaces = [PointCloud(side, side, "euclidean") for side in (x, moved)]
    first, second = (distance_profiles(space) for space in spaces)
    torch.testing.assert_close(second, first[order])
    # The same seeds and invariant inputs: the same training, whatever the pose.
    found = []
    for features, space in zip((first, second), spaces, strict=True):
        torch.manual_seed(0)
        slicer = GromovSlicer(sine_network(16).double())
        target = PointCloud(y, y, "euclidean")
        slicer.fit(features, distance_profiles(target), spaces=(space, target), steps=20, restarts=1)
        found.append(gromov_cost(slicer.couple(features, distance_profiles(target)), space, target))
    torch.testing.assert_close(*found, rtol=1e-6, atol=0)


def test_profiles_match_an_isometric_copy_at_once():
    x = cloud(40, 3, 0)
    order = torch.randperm(40, generator=generator())
    y = (x @ rotations(1, 3, generator=generator())[0])[order]
    profiles = [distance_profiles(PointCloud(side, side, "euclidean")) for side in (x, y)]
    torch.manual_seed(0)
    plan = GromovSlicer(SetTransformer(16, width=16).double()).couple(*profiles)
    assert (plan.assignment() == order.argsort()).all()
    assert gromov_cost(plan, x, y) < 1e-10


def bent(seed, n=24):
    """Two noisy samplings of one bent strip, in poses of their own."""
    g = generator(seed)
    clouds = []
    for _ in range(2):
        t = torch.linspace(0, 1, n, dtype=torch.float64) ** 1.5
        bend = 1.0 + 0.5 * torch.rand((), generator=generator(seed), dtype=torch.float64)
        strip = torch.stack([t, bend * t.square(), 0.3 * (6 * t).sin()], -1)
        strip = strip + 0.02 * torch.randn(n, 3, generator=g, dtype=torch.float64)
        clouds.append((strip @ rotations(1, 3, generator=g)[0])[torch.randperm(n, generator=g)])
    return clouds


def test_amortised_over_pairs_it_couples_new_ones():
    spaces = [[PointCloud(side, side, "euclidean") for side in bent(seed)] for seed in range(10)]
    pairs = [tuple(distance_profiles(space) for space in both) for both in spaces]
    torch.manual_seed(1)
    slicer = GromovSlicer(sine_network(16, 32).double())

    def unseen():
        costs = [gromov_cost(slicer.couple(*p), *s) for p, s in zip(pairs[6:], spaces[6:], strict=True)]
        return torch.stack(costs).mean().item()

    before = unseen()
    slicer.fit_pairs(pairs[:6], spaces=spaces[:6], steps=150, learning_rate=1e-2, generator=generator())
    after = unseen()
    product = torch.stack(
        [
            gromov_cost(ProductCoupling(*(x.new_full((24,), 1 / 24) for x in p)), *s)
            for p, s in zip(pairs, spaces, strict=True)
        ]
    ).mean()
    assert after < 0.7 * before
    assert after < 0.2 * product


def test_minibatches_and_unequal_sizes_train_too():
    x, y = cloud(30, 2, 0), cloud(20, 2, 0)
    torch.manual_seed(0)
    slicer = GromovSlicer(dimensions=(2, 2)).double()
    before = gromov_cost(slicer.couple(x, y), x, y)
    losses = slicer.fit(x, y, steps=60, restarts=1, batch=12, generator=generator())
    plan = slicer.couple(x, y)
    assert losses.isfinite().all()
    assert gromov_cost(plan, x, y) < before
    torch.testing.assert_close(plan.marginals()[1], torch.full((20,), 1 / 20, dtype=x.dtype))
    first = gromov_cost(plan, x, y)
    slicer.fit(x, y, steps=10, restarts=1, learning_rate=1.0, generator=generator())
    assert gromov_cost(slicer.couple(x, y), x, y) <= first  # the best hard value ever seen is kept


# ---------------------------------------------------------------- on lines


@pytest.mark.parametrize("weighted", [False, True])
def test_lines_take_the_better_of_two_orders(weighted):
    u, v = cloud(6, 1, 0), cloud(6 if not weighted else 8, 1, 1)
    a, b = (None, None)
    if weighted:
        a, b = (torch.rand(len(side), generator=generator(k)).double() for k, side in enumerate((u, v)))
        a, b = a / a.sum(), b / b.sum()
    both = [gromov_cost(monotone_plan(u[:, 0], sign * v[:, 0], a, b), u, v) for sign in (1, -1)]
    found = Gromov()._costs(Clouds(u.T, v.T, a, b))
    torch.testing.assert_close(found[0], min(both))
    leaves = [t.requires_grad_() for t in (u.T.clone(), v.T.clone(), *((a, b) if weighted else ()))]
    assert torch.autograd.gradcheck(lambda u, v, *w: Gromov()._costs(Clouds(u, v, *w)), leaves)


def test_sliced_gromov_is_zero_on_reflections_and_pads_dimensions():
    x = cloud(15, 2, 0)
    assert sliced_gromov_wasserstein(x, 3 - x, slices=10, generator=generator()).cost < 1e-12
    padded = torch.nn.functional.pad(x, (0, 1))
    theta = directions(12, 3, generator=generator(), dtype=x.dtype)
    y = cloud(9, 3, 1)
    one, two = (sliced_gromov_wasserstein(side, y, theta=theta).cost for side in (x, padded))
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(sliced_gromov_wasserstein(y, x, theta=theta).cost, one)


def test_wrong_input_is_told():
    x, y = cloud(5, 2, 0), cloud(4, 2, 1)
    with pytest.raises(ShapeError, match="must hold the 5 points"):
        gromov_cost(PermutationCoupling(torch.arange(5)), y, x)
    with pytest.raises(ShapeError, match="as many slices"):
        best_gromov_plan(x, y, slicer=Linear(torch.eye(2).double()), slicer_y=Linear(torch.eye(2).double()[:1]))
    with pytest.raises(InputError, match="needs a pair"):
        GromovSlicer(dimensions=(2, 2)).fit_pairs([])
    with pytest.raises(ShapeError, match="dimensions must be given"):
        GromovSlicer()
    with pytest.raises(ShapeError, match="must hold the 4 points"):
        gromov_cost(monotone_plan(x[:, 0], y[:, 0]), CostMatrix(torch.rand(5, 5).double()), x)

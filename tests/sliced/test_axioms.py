"""What every sliced distance owes: shapes, weights, absence, precision, axioms, slopes, chunks, orders, memory."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from draws import generator
from monge.geometry import PointCloud
from monge.kernels import _extension
from monge.sliced import (
    Augmented,
    Balanced,
    Circular,
    Estimate,
    GreatCircles,
    Linear,
    Polynomial,
    Spheres,
    TreeSystem,
    Unbalanced,
    _over_slices,
    best_sliced_plan,
    circular_wasserstein,
    directions,
    distributional_sliced_wasserstein,
    energy_based_sliced_wasserstein,
    estimate,
    expected_sliced_plan,
    frames,
    max_sliced_wasserstein,
    pairwise_sliced_wasserstein,
    rotations,
    sliced_gromov_wasserstein,
    sliced_wasserstein,
    spherical_sliced_wasserstein,
    tree_sliced_wasserstein,
    tree_system,
    unbalanced_sliced_wasserstein,
)
from monge.sliced.sphere import (
    SphericalTreeSystem,
    Stereographic,
    linear_circular_wasserstein,
    spherical_tree_sliced_wasserstein,
    spherical_tree_system,
)
from monge.testing import LargestTensor

THETA = directions(12, 3, generator=generator(50), dtype=torch.float64)
FRAME = frames(10, 3, generator=generator(51), dtype=torch.float64)
TREES = tree_system(torch.zeros(1, 3).double(), torch.ones(1, 3).double(), trees=8, lines=3, generator=generator(52))
ARCS = spherical_tree_system(3, trees=8, rays=3, generator=generator(53), dtype=torch.float64)
CUBIC = directions(9, 10, generator=generator(54), dtype=torch.float64)
LIFTED = directions(9, 6, generator=generator(55), dtype=torch.float64)


class Distance(NamedTuple):
    """A sliced distance with its slices fixed, in the precision of the points."""

    measure: Callable[..., Estimate]
    sphere: bool = False
    batched: bool = True
    metric: bool = True  # triangle inequality and zero on equal clouds
    relaxed: bool = False  # weights have a mass, and may change
    searched: bool = False  # slices depend on the points
    chunked: bool = True


def lines(line=None, **options):
    return lambda x, y, a, b: estimate(x, y, a, b, slicer=Linear(THETA.to(x)), line=line, **options)


def on(slicer, line=None):
    return lambda x, y, a, b: estimate(x, y, a, b, slicer=slicer.to(x), line=line)


def spherical(family, p=2.0):
    return lambda x, y, a, b: spherical_sliced_wasserstein(x, y, a, b, family=family, p=p, frame=FRAME.to(x))


def tree(x, y, a, b):
    return tree_sliced_wasserstein(x, y, a, b, system=TreeSystem(TREES.root.to(x), TREES.theta.to(x)))


def spherical_tree(p):
    return lambda x, y, a, b: spherical_tree_sliced_wasserstein(
        x, y, a, b, p=p, system=SphericalTreeSystem(ARCS.root.to(x), ARCS.theta.to(x))
    )


def shared_reweighting(x, y, a, b):
    return unbalanced_sliced_wasserstein(x, y, a, b, slicer=Linear(THETA.to(x)), rho=2.0, tol=1e-8)[0]


DISTANCES = {
    "SW_1": Distance(lambda x, y, a, b: sliced_wasserstein(x, y, a, b, p=1.0, theta=THETA.to(x))),
    "SW_2": Distance(lambda x, y, a, b: sliced_wasserstein(x, y, a, b, theta=THETA.to(x))),
    "SW_3": Distance(lambda x, y, a, b: sliced_wasserstein(x, y, a, b, p=3.0, theta=THETA.to(x))),
    "controlled": Distance(lines(control_variate="quadratic"), metric=False),
    "scaled": Distance(lambda x, y, a, b: sliced_wasserstein(x, y, a, b, theta=THETA.to(x), scale="dimension")),
    "energy": Distance(
        lambda x, y, a, b: energy_based_sliced_wasserstein(x, y, a, b, slicer=Linear(THETA.to(x))), metric=False
    ),
    "max": Distance(
        lambda x, y, a, b: max_sliced_wasserstein(x, y, a, b, steps=30, generator=generator())[0],
        batched=False,
        metric=False,
        searched=True,
    ),
    "distributional": Distance(
        lambda x, y, a, b: distributional_sliced_wasserstein(x, y, a, b, slices=16, steps=8, generator=generator()),
        batched=False,
        metric=False,
        searched=True,
    ),
    "spheres": Distance(on(Spheres(THETA, 4.0))),
    "cubic": Distance(on(Polynomial(CUBIC, 3))),
    "augmented": Distance(on(Augmented(LIFTED, torch.sin))),
    "SUOT": Distance(lines(Unbalanced(2.0, tol=1e-8)), metric=False, relaxed=True),
    "USOT": Distance(shared_reweighting, batched=False, metric=False, relaxed=True, chunked=False),
    "gromov": Distance(lambda x, y, a, b: sliced_gromov_wasserstein(x, y, a, b, theta=THETA.to(x)), metric=False),
    "tree": Distance(tree, batched=False),
    "SSW_1": Distance(spherical("great-circles", 1.0), sphere=True),
    "SSW_2": Distance(spherical("great-circles"), sphere=True),
    "LSSOT": Distance(spherical("linear"), sphere=True),
    "S3W": Distance(spherical("stereographic"), sphere=True),
    "vertical": Distance(spherical("vertical"), sphere=True),
    "unbalanced circles": Distance(
        on(GreatCircles(FRAME), Unbalanced(0.5, Circular(), tol=1e-8)), sphere=True, metric=False, relaxed=True
    ),
    "unbalanced stereographic": Distance(
        on(Stereographic(FRAME), Unbalanced(0.5, Balanced(), tol=1e-8)), sphere=True, metric=False, relaxed=True
    ),
    "STSW_1": Distance(spherical_tree(1.0), sphere=True, batched=False),
    "STSW_2": Distance(spherical_tree(2.0), sphere=True, batched=False),
}
every = pytest.mark.parametrize("name", DISTANCES)


def those(condition):
    """The distances that the condition holds for."""
    return pytest.mark.parametrize("name", [name for name, distance in DISTANCES.items() if condition(distance)])


def some(name, n, seed, *batch, dtype=torch.float64):
    points = torch.randn(*batch, n, 3, generator=generator(seed), dtype=torch.float64)
    points = points + torch.tensor([0.4, 0.0, 0.2], dtype=torch.float64) * (seed % 2)
    if DISTANCES[name].sphere:
        points = torch.nn.functional.normalize(points, dim=-1)
    return points.to(dtype)


def mass(n, seed, *batch, dtype=torch.float64):
    weights = torch.rand(*batch, n, generator=generator(seed + 100), dtype=torch.float64) + 0.1
    return (weights / weights.sum(-1, keepdim=True)).to(dtype)


def measure(name, x, y, a=None, b=None):
    return DISTANCES[name].measure(x, y, a, b)


@every
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (6, 6), (7, 4)])
@pytest.mark.parametrize("weighted", [False, True])
def test_sizes_and_weights(name, n, m, weighted):
    x, y = some(name, n, 0), some(name, m, 1)
    a, b = (mass(n, 0), mass(m, 1)) if weighted else (None, None)
    found = measure(name, x, y, a, b)
    assert found.cost.ndim == 0
    assert found.cost.dtype == torch.float64
    assert found.cost.isfinite()
    assert found.slices.isfinite().all()
    assert found.cost > (-1e-12 if name == "gromov" else 0)
    even = measure(name, x, y, *(torch.full((k,), 1 / k, dtype=torch.float64) for k in (n, m)))
    if not weighted:
        torch.testing.assert_close(found.cost, even.cost, rtol=1e-9, atol=1e-12)
    if weighted and not DISTANCES[name].relaxed:
        torch.testing.assert_close(measure(name, x, y, 5 * a, 0.1 * b).cost, found.cost, rtol=1e-9, atol=1e-12)


@those(lambda distance: distance.batched)
def test_batches_are_loops(name):
    x, y, a = some(name, 6, 0, 2, 3), some(name, 4, 1), mass(6, 0, 3)
    together = measure(name, x, y, a)
    assert together.cost.shape == (2, 3)
    one = torch.stack([measure(name, x[i, j], y, a[j]).cost for i in range(2) for j in range(3)]).reshape(2, 3)
    torch.testing.assert_close(together.cost, one, rtol=1e-9, atol=1e-12)


@those(lambda distance: not distance.searched)
def test_zero_weight_is_absence(name):
    x, y, a = some(name, 6, 0), some(name, 5, 1), mass(6, 0)
    far = some(name, 2, 3) * (1 if DISTANCES[name].sphere else 30)
    padded, b = torch.cat([x, far]).requires_grad_(), torch.cat([mass(6, 0), torch.zeros(2).double()])
    plain = measure(name, x, y, a).cost
    found = measure(name, padded, y, b).cost
    torch.testing.assert_close(found, plain, rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(found, padded)
    assert (slope[6:] == 0).all()


@every
def test_symmetry_and_the_order_of_points(name):
    x, y, a, b = some(name, 7, 0), some(name, 5, 1), mass(7, 0), mass(5, 1)
    found = measure(name, x, y, a, b).cost
    tolerance = {"rtol": 1e-3 if DISTANCES[name].searched else 1e-6, "atol": 1e-9}
    if name != "distributional":  # its start points from one cloud to the other
        torch.testing.assert_close(measure(name, y, x, b, a).cost, found, **tolerance)
    order = torch.randperm(7, generator=generator())
    torch.testing.assert_close(measure(name, x[order], y, a[order], b).cost, found, **tolerance)


@every
def test_equal_clouds_are_at_no_distance_with_finite_slopes(name):
    x, a = some(name, 6, 0), mass(6, 0)
    for weights in (None, a):
        leaf = x.clone().requires_grad_()
        found = measure(name, leaf, x, weights, weights)
        assert found.cost.abs() < (1e-3 if DISTANCES[name].relaxed else 1e-10)
        for value in (found.cost, found.distance):
            (slope,) = torch.autograd.grad(value, leaf, retain_graph=True)
            assert slope.isfinite().all()


@those(lambda distance: distance.metric)
def test_triangle_inequality(name):
    for seed in range(5):
        x, y, z = (some(name, n, 3 * seed + k) for k, n in enumerate((6, 4, 5)))
        a, c = mass(6, seed), mass(5, seed)
        direct = measure(name, x, y, a).distance
        assert direct <= measure(name, x, z, a, c).distance + measure(name, z, y, c).distance + 1e-9


# Slopes that hold a search or a fit fixed have tests of their own.
@those(lambda distance: not distance.searched and not distance.relaxed and distance is not DISTANCES["controlled"])
def test_slopes_by_finite_differences(name):
    x, y, a, b = some(name, 4, 0), some(name, 3, 1), mass(4, 0), mass(3, 1)
    leaves = [t.clone().requires_grad_() for t in (x, y, a, b)]

    def cost(x, y, a, b):
        if DISTANCES[name].sphere:
            x, y = (torch.nn.functional.normalize(side, dim=-1) for side in (x, y))
        if name == "energy":  # its weights are constants of the slope
            return estimate(x, y, a, b, slicer=Linear(THETA), weights=held).cost
        return measure(name, x, y, a, b).cost

    held = measure(name, x, y, a, b).weights
    assert torch.autograd.gradcheck(cost, leaves, atol=1e-5, rtol=1e-3)


@every
def test_single_precision_agrees(name):
    n = 10_000 if name in ("SW_2", "SSW_2", "LSSOT", "S3W", "tree", "STSW_1") else 400
    x, y, a = some(name, n, 0), some(name, n - 100, 1), mass(n, 0)
    exact = measure(name, x, y, a).cost
    single = measure(name, x.float(), y.float(), a.float()).cost
    assert single.dtype == torch.float32
    tolerance = 3e-3 if DISTANCES[name].searched or DISTANCES[name].relaxed else 1e-4
    torch.testing.assert_close(single.double(), exact, rtol=tolerance, atol=1e-7)


@those(lambda distance: distance.chunked)
def test_chunks_change_nothing(name, monkeypatch):
    x, y, a = some(name, 9, 0).requires_grad_(), some(name, 7, 1), mass(9, 0)
    whole = measure(name, x, y, a).cost
    (slope,) = torch.autograd.grad(whole, x)
    monkeypatch.setattr(_over_slices, "CHUNK_BYTES", 3 * 8 * 2 * 16)
    pieces = measure(name, x, y, a).cost
    torch.testing.assert_close(pieces, whole, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(torch.autograd.grad(pieces, x)[0], slope, rtol=1e-7, atol=1e-12)


@every
def test_twice_the_same_is_the_same_to_the_bit(name):
    x, y, a = some(name, 9, 0), some(name, 7, 1), mass(9, 0)
    assert torch.equal(measure(name, x, y, a).cost, measure(name, x, y, a).cost)


@every
def test_the_definition_agrees_with_the_native_loops(name, monkeypatch):
    x, y, a, b = some(name, 9, 0), some(name, 7, 1), mass(9, 0), mass(7, 1)
    a, b = torch.cat([a[:8], torch.zeros(1).double()]), torch.cat([torch.zeros(1).double(), b[1:]])
    found = []
    for available in (True, False):
        monkeypatch.setattr(_extension, "AVAILABLE", available and _extension.AVAILABLE)
        leaves = [t.clone().requires_grad_() for t in (x, y, a, b)]
        cost = measure(name, *leaves).cost
        found.append((cost.detach(), *torch.autograd.grad(cost, leaves)))
    present = [None, None, None, a > 0, b > 0]
    for k, (native, definition) in enumerate(zip(*found, strict=True)):
        if k > 2 and DISTANCES[name].relaxed:  # the side may end at a kink of the distance, where either slope is right
            continue
        if k > 2 and name in ("SSW_1", "SSW_2", "LSSOT"):  # the definition on circles knows no slope at absent atoms
            native, definition = native[present[k]], definition[present[k]]
        torch.testing.assert_close(native, definition, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every
def test_devices_agree(name):
    x, y, a = some(name, 60, 0), some(name, 50, 1), mass(60, 0)
    expected = measure(name, x.requires_grad_(), y, a).cost
    leaf = x.detach().cuda().requires_grad_()
    found = measure(name, leaf, y.cuda(), a.cuda()).cost
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-9)
    slopes = (torch.autograd.grad(cost, points)[0].cpu() for cost, points in ((found, leaf), (expected, x)))
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "case", ["lines", "controlled", "spheres", "circles", "stereographic", "tree", "spherical tree", "unbalanced"]
)
def test_memory_is_one_chunk_whatever_the_number_of_slices(case):
    g = generator()
    flat = [torch.randn(2000, 3, generator=g) for _ in range(2)]
    round_ = [torch.nn.functional.normalize(side, dim=-1) for side in flat]
    x, y = round_ if case in ("circles", "stereographic", "spherical tree") else flat
    x.requires_grad_()
    count = 1500
    measures = {
        "lines": lambda: sliced_wasserstein(x, y, slices=count, generator=g),
        "controlled": lambda: sliced_wasserstein(
            x, y, slices=count, kind="iid", control_variate="quadratic", generator=g
        ),
        "spheres": lambda: estimate(x, y, slicer=Spheres(directions(count, 3, generator=g))),
        "circles": lambda: spherical_sliced_wasserstein(x, y, slices=count, generator=g),
        "stereographic": lambda: spherical_sliced_wasserstein(x, y, family="stereographic", slices=count, generator=g),
        "tree": lambda: tree_sliced_wasserstein(x, y, system=tree_system(x, y, trees=300, lines=3, generator=g)),
        "spherical tree": lambda: spherical_tree_sliced_wasserstein(
            x, y, system=spherical_tree_system(3, trees=300, generator=g)
        ),
        "unbalanced": lambda: estimate(
            x, y, slicer=Linear(directions(600, 3, generator=g)), line=Unbalanced(1.0, tol=1e6, steps=1)
        ),
    }
    with LargestTensor() as seen:
        measures[case]().cost.backward()
    assert seen.bytes <= _over_slices.CHUNK_BYTES  # all slices together take more


@pytest.mark.slow
def test_memory_at_ten_thousand_points_and_slices():
    g = generator()
    x, y = torch.randn(10_000, 3, generator=g), torch.randn(10_000, 3, generator=g)
    x.requires_grad_()
    with LargestTensor() as seen:
        sliced_wasserstein(x, y, slices=10_000, generator=g).cost.backward()
    assert seen.bytes <= 2 * _over_slices.CHUNK_BYTES  # 800 MB of projections


# ---------------------------------------------------------------- orders


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_the_orders_between_distances(p):
    for seed in range(4):
        x, y = some("SW_2", 7, 2 * seed), some("SW_2", 7, 2 * seed + 1)
        exact = monge_cost(x, y, p)
        slicer = Linear(THETA)
        plain = estimate(x, y, slicer=slicer, line=Balanced(p))
        energy = energy_based_sliced_wasserstein(x, y, slicer=slicer, line=Balanced(p)).cost
        factor = math.gamma((3 + p) / 2) * math.gamma(0.5) / (math.gamma(1.5) * math.gamma((1 + p) / 2))
        geometry = PointCloud(x, y, "euclidean", power=p)
        plans = [
            expected_sliced_plan(x, y, slicer=slicer, inverse_temperature=tau).transport_cost(geometry)
            for tau in (30.0, 3.0, 0.0)
        ]
        best = min(best_sliced_plan(x, y, slicer=Linear(theta[None])).transport_cost(geometry) for theta in THETA)
        ordered = [plain.cost, energy, plain.slices.max(), exact, best, *plans]
        assert all(one <= two + 1e-12 for one, two in itertools.pairwise(ordered))
        assert sliced_wasserstein(x, y, p=p, slices=3000, generator=generator()).cost * factor <= exact * 1.03


def monge_cost(x, y, p):
    cost = torch.cdist(x, y).pow(p)
    order = torch.tensor(list(itertools.permutations(range(len(x)))))
    return cost[torch.arange(len(x)), order].sum(-1).min() / len(x)


def test_the_orders_on_the_circle_and_the_sphere():
    for seed in range(20):
        x, y = (torch.rand(n, generator=generator(seed + 100 * n)).double() for n in (6, 5))
        a = mass(6, seed)
        assert linear_circular_wasserstein(x, y, a) >= circular_wasserstein(x, y, a) - 1e-12
        assert circular_wasserstein(x, y, a, p=1.0) <= circular_wasserstein(x, y, a, p=2.0) + 1e-12 <= 0.5 + 1e-12
    x, y = some("SSW_2", 9, 0), some("SSW_2", 8, 1)
    exact, linear = (measure(name, x, y).slices for name in ("SSW_2", "LSSOT"))
    assert (linear >= exact - 1e-12).all()


def test_low_dimension_hides_in_high_by_a_known_factor():
    g = generator()
    k, d = 3, 12
    basis = torch.linalg.qr(torch.randn(d, k, generator=g, dtype=torch.float64)).Q
    x, y = some("SW_2", 12, 0), some("SW_2", 9, 1)
    for p in (1.0, 2.0, 3.0):
        factor = math.gamma((k + p) / 2) * math.gamma(d / 2) / (math.gamma(k / 2) * math.gamma((d + p) / 2))
        low = sliced_wasserstein(x, y, p=p, slices=6000, generator=g)
        high = sliced_wasserstein(x @ basis.T, y @ basis.T, p=p, slices=6000, generator=g)
        assert abs(high.cost - factor * low.cost) < 4 * (high.standard_error + factor * low.standard_error)


def test_gaussians_and_translations_have_closed_forms():
    g = generator()
    x = torch.randn(20_000, 3, generator=g, dtype=torch.float64)
    y = 2.5 * torch.randn(20_000, 3, generator=g, dtype=torch.float64)
    assert sliced_wasserstein(x, y, slices=30, generator=g).cost.item() == pytest.approx(1.5**2, rel=0.02)
    x, y = x[:30], y[:40] + 1.0
    shift = x.mean(0) - y.mean(0)
    theta = directions(3, 3, generator=g, dtype=torch.float64)  # one basis: the shift is exact
    whole = sliced_wasserstein(x, y, theta=theta).cost
    centred = sliced_wasserstein(x - x.mean(0), y - y.mean(0), theta=theta).cost
    torch.testing.assert_close(whole, shift.square().sum() / 3 + centred)


def test_a_rotation_with_its_slices_changes_nothing():
    turn = rotations(1, 3, generator=generator())[0]
    x, y = some("SW_2", 8, 0), some("SW_2", 6, 1)
    slicers = [Linear(THETA), Spheres(THETA, 4.0)]
    for slicer in slicers:
        plain = estimate(x, y, slicer=slicer).cost
        torch.testing.assert_close(estimate(x @ turn, y @ turn, slicer=slicer._at(THETA @ turn)).cost, plain)
    turned = TreeSystem(TREES.root @ turn, TREES.theta @ turn)
    torch.testing.assert_close(
        tree_sliced_wasserstein(x @ turn, y @ turn, system=turned).cost, tree(x, y, None, None).cost
    )


def test_all_pairs_are_the_distances_one_by_one():
    clouds = [some("SW_2", n, n) for n in (5, 7, 1)]
    weights = [None, mass(7, 0), None]
    found = pairwise_sliced_wasserstein(clouds, weights, theta=THETA)
    for k in range(3):
        for l in range(3):
            one = sliced_wasserstein(clouds[k], clouds[l], weights[k], weights[l], theta=THETA).distance
            torch.testing.assert_close(found[k, l], one, atol=1e-9, rtol=1e-9)

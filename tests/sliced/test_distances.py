"""Sliced distances: closed forms, pseudo-metric axioms, laws of slices, gradients, memory."""

import math

import pytest
import torch

from draws import generator
from monge.errors import InputError, ShapeError
from monge.sliced import (
    Balanced,
    GreatCircles,
    Linear,
    LinearCircular,
    Network,
    Polynomial,
    _over_slices,
    directions,
    distributional_sliced_wasserstein,
    energy_based_sliced_wasserstein,
    estimate,
    frames,
    max_sliced_wasserstein,
    random_path_directions,
    rotations,
    sliced_wasserstein,
    spherical_sliced_wasserstein,
)
from monge.sliced.directions import KINDS
from monge.sliced.sphere import Stereographic, spherical_uniformity
from monge.sliced.wasserstein import dirac_factor, effective_dimension
from monge.testing import LargestTensor

# ---------------------------------------------------------------- directions


@pytest.mark.parametrize("kind", KINDS)
def test_directions_are_unit_and_repeatable(kind):
    d = {"area": 3, "spiral": 3, "grid": 2}.get(kind, 5)
    first, second = (directions(17, d, kind, generator=generator(), dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(17, dtype=torch.float64))
    assert torch.equal(first, second)


def test_orthogonal_blocks_and_haar_signs():
    theta = directions(12, 4, generator=generator(), dtype=torch.float64)
    for block in theta.split(4):
        torch.testing.assert_close(block @ block.T, torch.eye(4, dtype=torch.float64))
    # Without the sign of R the first entry would keep one sign.
    corner = rotations(400, 3, generator=generator())[:, 0, 0]
    assert abs((corner > 0).double().mean() - 0.5) < 0.1
    frame = frames(50, 5, generator=generator(), dtype=torch.float64)
    gram = frame @ frame.transpose(-1, -2)
    torch.testing.assert_close(gram, torch.eye(2, dtype=torch.float64).expand(50, 2, 2))


@pytest.mark.parametrize("kind", ["orthogonal", "iid", "sobol", "area", "spiral", "repulsive"])
def test_every_law_is_unbiased(kind, clouds):
    x, y = clouds(3)
    count = 60 if kind == "repulsive" else 200
    reference = sliced_wasserstein(x, y, slices=20_000, kind="iid", generator=generator(99))
    draws = torch.stack(
        [sliced_wasserstein(x, y, slices=30, kind=kind, generator=generator(k)).cost for k in range(count)]
    )
    error = draws.std() / math.sqrt(count) + reference.standard_error
    assert abs(draws.mean() - reference.cost) < 4 * error


def test_orthogonal_directions_vary_less_and_say_so(clouds):
    x, y = clouds(10)
    spread = {}
    for kind in ("iid", "orthogonal"):
        found = [sliced_wasserstein(x, y, slices=100, kind=kind, generator=generator(k)) for k in range(60)]
        spread[kind] = torch.stack([f.cost for f in found]).std()
        told = torch.stack([f.standard_error for f in found]).mean()
        assert 0.6 < told / spread[kind] < 1.7
    assert spread["orthogonal"] < spread["iid"] / 2


@pytest.mark.parametrize("kind", ["sobol", "area", "spiral", "repulsive"])
def test_spread_sets_vary_less_than_independent_ones(kind, clouds):
    x, y = clouds(3)

    def spread(kind):
        draws = [sliced_wasserstein(x, y, slices=30, kind=kind, generator=generator(300 + k)) for k in range(50)]
        return torch.stack([draw.cost for draw in draws]).std()

    assert spread(kind) < (0.75 if kind == "sobol" else 0.5) * spread("iid")


def test_error_falls_like_the_root_of_the_number_of_slices(clouds):
    x, y = clouds(4, 60, 60)
    counts = torch.tensor([16.0, 64.0, 256.0, 1024.0])
    spread = torch.stack(
        [
            torch.stack(
                [sliced_wasserstein(x, y, slices=int(c), kind="iid", generator=generator(k)).cost for k in range(80)]
            ).std()
            for c in counts
        ]
    )
    slope = torch.linalg.lstsq(
        torch.stack([counts.log(), torch.ones(4)], -1).double(), spread.log()[:, None].double()
    ).solution[0]
    assert -0.6 < slope < -0.4


def test_tolerance_draws_until_it_holds(clouds):
    x, y = clouds(6)
    found = sliced_wasserstein(x, y, slices=12, tol=2e-3, generator=generator())
    assert found.standard_error <= 2e-3 * found.cost
    assert found.slices.shape[-1] > 12


# ---------------------------------------------------------------- the distance


def test_closed_forms():
    g = generator()
    x, y = torch.zeros(1, 5, dtype=torch.float64), torch.full((1, 5), 0.2, dtype=torch.float64)
    assert sliced_wasserstein(x, y, slices=5, generator=g).cost.item() == pytest.approx(0.2 / 5)
    found = sliced_wasserstein(x, y, p=1.0, slices=20_000, generator=g).cost.item()
    expected = math.sqrt(0.2) * math.gamma(2.5) / (math.sqrt(math.pi) * math.gamma(3))
    assert found == pytest.approx(expected, rel=1e-2)
    cloud = torch.randn(50, 4, generator=g, dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    moved = sliced_wasserstein(cloud, cloud + shift, slices=4, generator=g).cost
    assert moved.item() == pytest.approx(float(shift.square().sum() / 4))
    scaled = sliced_wasserstein(cloud, 3 * cloud, slices=4, generator=g)  # W_2 of x and 3x is 2 |x| on every line
    assert scaled.cost.item() == pytest.approx(4 * cloud.square().mean().item())


def test_dimension_and_effective_scale():
    g = generator()
    flat = (
        torch.randn(400, 5, generator=g, dtype=torch.float64),
        torch.randn(400, 5, generator=g, dtype=torch.float64) + 1,
    )
    basis = torch.linalg.qr(torch.randn(60, 5, generator=g, dtype=torch.float64)).Q
    lifted = [cloud @ basis.T for cloud in flat]
    torch.testing.assert_close(effective_dimension(*flat), effective_dimension(*lifted))
    low, high = (
        sliced_wasserstein(*c, slices=6000, scale="effective", generator=g).cost.item() for c in (flat, lifted)
    )
    assert high == pytest.approx(low, rel=0.06)
    x, y = torch.zeros(1, 7), torch.ones(1, 7)
    assert sliced_wasserstein(x, y, slices=7, scale="dimension").cost.item() == pytest.approx(7.0, rel=1e-5)
    assert dirac_factor(9, 2.0) == pytest.approx(1 / 9)


@pytest.mark.parametrize("line", [Balanced(1.0), Balanced(2.0), LinearCircular()])
def test_shared_directions_make_a_pseudo_metric(line):
    g = generator()
    slicer = Linear(directions(20, 3, generator=g, dtype=torch.float64))
    if isinstance(line, LinearCircular):
        slicer = GreatCircles(frames(20, 3, generator=g, dtype=torch.float64))
    for _ in range(20):
        clouds = [
            torch.nn.functional.normalize(torch.randn(n, 3, generator=g, dtype=torch.float64), dim=-1)
            for n in (7, 5, 9)
        ]
        x, y, z = clouds

        def distance(one, other):
            return estimate(one, other, slicer=slicer, line=line).distance

        assert distance(x, y) <= distance(x, z) + distance(z, y) + 1e-12
        torch.testing.assert_close(distance(x, y), distance(y, x))
        assert distance(x, x) == 0


def test_rotation_with_its_directions_changes_nothing(clouds):
    x, y = clouds(3)
    turn = rotations(1, 3, generator=generator())[0]
    theta = directions(30, 3, generator=generator(), dtype=x.dtype)
    torch.testing.assert_close(
        sliced_wasserstein(x @ turn, y @ turn, theta=theta @ turn).cost, sliced_wasserstein(x, y, theta=theta).cost
    )


def test_gradients_and_batches(clouds):
    x, y = clouds(2, 6, 4)
    theta = directions(5, 2, generator=generator(), dtype=x.dtype)
    a = torch.rand(6, generator=generator(), dtype=x.dtype)
    leaves = [t.requires_grad_() for t in (x, y, a)]
    assert torch.autograd.gradcheck(lambda x, y, a: sliced_wasserstein(x, y, a, theta=theta, p=1.5).distance, leaves)
    batch = torch.randn(3, 2, 6, 2, generator=generator(), dtype=x.dtype)
    together = sliced_wasserstein(batch, y, theta=theta).cost
    one = torch.stack([sliced_wasserstein(c, y, theta=theta).cost for c in batch.flatten(0, 1)]).reshape(3, 2)
    torch.testing.assert_close(together, one)
    same = sliced_wasserstein(x, x, theta=theta)
    (slope,) = torch.autograd.grad(same.distance, x)
    assert slope.isfinite().all()


def test_chunks_change_nothing(clouds, monkeypatch):
    x, y = clouds(3)
    theta = directions(40, 3, generator=generator(), dtype=x.dtype)
    x.requires_grad_()
    whole = sliced_wasserstein(x, y, theta=theta).cost
    (slope,) = torch.autograd.grad(whole, x)
    monkeypatch.setattr(_over_slices, "CHUNK_BYTES", 3 * 8 * 2 * 300)
    pieces = sliced_wasserstein(x, y, theta=theta).cost
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(pieces, x)[0], slope, rtol=1e-12, atol=1e-15)


def test_memory_does_not_grow_with_the_number_of_slices():
    x, y = torch.randn(2000, 3, generator=generator()), torch.randn(2000, 3, generator=generator(1))
    x.requires_grad_()
    with LargestTensor() as seen:
        sliced_wasserstein(x, y, slices=6000, generator=generator()).cost.backward()
    assert seen.bytes <= 2 * _over_slices.CHUNK_BYTES  # 48 MB of projections were never alive together


# ---------------------------------------------------------------- laws that follow the data


def test_order_of_the_laws(clouds):
    x, y = clouds(4, 40, 40)
    slicer = Linear(directions(40, 4, generator=generator(), dtype=x.dtype))
    plain = estimate(x, y, slicer=slicer)
    energy = [energy_based_sliced_wasserstein(x, y, slicer=slicer, energy=e).cost for e in ("exponential", "power")]
    top, theta = max_sliced_wasserstein(x, y, generator=generator())
    assert all(plain.cost <= e <= plain.slices.max() for e in energy)
    assert plain.slices.max() <= top.cost + 1e-12
    torch.testing.assert_close(theta.norm(), torch.ones((), dtype=x.dtype))
    learned = distributional_sliced_wasserstein(x, y, concentration=100.0, generator=generator())
    assert plain.cost < learned.cost < top.cost


def test_max_sliced_finds_the_one_direction_that_differs():
    x = torch.randn(300, 20, generator=generator(), dtype=torch.float64)
    y = x.clone()
    y[:, 7] *= 3
    _, theta = max_sliced_wasserstein(x, y, generator=generator())
    assert theta[0, 7].abs() > 0.99


def test_random_paths_point_from_cloud_to_cloud():
    x, y = torch.zeros(10, 3), torch.tensor([[5.0, 0.0, 0.0]])
    theta = random_path_directions(x, y, 100, concentration=1000.0, generator=generator())
    assert theta[:, 0].max() < -0.9


def test_polynomials_and_networks_slice_too(clouds):
    x, y = clouds(3, 20, 20)
    theta = directions(8, 10, generator=generator(), dtype=x.dtype)
    assert estimate(x, y, slicer=Polynomial(theta, 3)).cost > 0
    assert estimate(x, x, slicer=Polynomial(theta, 3)).cost == 0
    layer = torch.nn.Linear(3, 4, bias=False, dtype=x.dtype)
    as_network = estimate(x, y, slicer=Network(layer, 4)).cost
    torch.testing.assert_close(as_network, estimate(x, y, slicer=Linear(layer.weight.detach())).cost)


# ---------------------------------------------------------------- sphere


def sphere(n, d, seed):
    return torch.nn.functional.normalize(torch.randn(n, d, generator=generator(seed), dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("family", ["great-circles", "linear", "stereographic", "vertical"])
def test_spherical_families(family):
    x, y = sphere(30, 4, 0), sphere(20, 4, 1)
    frame = frames(40, 4, generator=generator(), dtype=x.dtype)
    turn = rotations(1, 4, generator=generator())[0]
    plain = spherical_sliced_wasserstein(x, y, family=family, frame=frame).cost
    turned = spherical_sliced_wasserstein(x @ turn, y @ turn, family=family, frame=frame @ turn).cost
    torch.testing.assert_close(plain, turned)
    assert spherical_sliced_wasserstein(x, x, family=family, frame=frame).cost < 1e-17
    leaf = x[:5].clone().requires_grad_()

    def cost(points):
        unit = torch.nn.functional.normalize(points, dim=-1)
        return spherical_sliced_wasserstein(unit, y[:4], family=family, frame=frame[:3]).cost

    assert torch.autograd.gradcheck(cost, (leaf,), atol=1e-6)


def test_linear_dominates_great_circles():
    x, y = sphere(30, 3, 0), sphere(20, 3, 1)
    frame = frames(50, 3, generator=generator(), dtype=x.dtype)
    exact, linear = (
        spherical_sliced_wasserstein(x, y, family=f, frame=frame).slices for f in ("great-circles", "linear")
    )
    assert (linear >= exact - 1e-12).all()
    assert exact.max() <= 0.25


@pytest.mark.parametrize("d", [3, 5])
def test_antipodal_points_on_stereographic_slices(d):
    x = torch.zeros(1, d, dtype=torch.float64)
    x[0, -1] = 1
    found = spherical_sliced_wasserstein(x, -x, family="stereographic", slices=40_000, generator=generator())
    assert found.cost.item() == pytest.approx(1 / (d - 1), rel=0.02)


def test_stereographic_coordinate_against_its_definition():
    points = sphere(200, 3, 0)
    frame = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    angle = math.pi - torch.arccos(points[:, 2])
    radius = (1 - points[:, 2].square()).sqrt()
    expected = angle / math.pi * points[:, 0] / radius
    torch.testing.assert_close(Stereographic(frame)._coordinates(points, slice(None))[0], expected)
    south = torch.tensor([[1e-9, 0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(
        Stereographic(frame)._coordinates(south, slice(None))[0, 0].item(), 1e-9 / math.pi, rtol=1e-6, atol=0
    )


def test_uniformity_is_the_distance_to_a_fine_uniform_circle():
    x = sphere(6, 3, 2)
    frame = frames(5, 3, generator=generator(), dtype=x.dtype)
    closed = spherical_uniformity(x, frame=frame)
    turns = GreatCircles(frame)._coordinates(x, slice(None))
    from monge.kernels import circle_distance

    fine = (torch.arange(4000, dtype=x.dtype) + 0.5) / 4000
    torch.testing.assert_close(circle_distance(turns, fine.expand(5, -1)).mean(), closed, rtol=1e-3, atol=0)
    three = torch.tensor([0.0, 0.2, 0.4], dtype=x.dtype) * 2 * math.pi
    ring = torch.stack([three.cos(), three.sin()], -1)
    plane = torch.eye(2, dtype=x.dtype)[None]
    assert spherical_uniformity(ring, frame=plane).item() == pytest.approx(0.0211111, abs=1e-7)


# ---------------------------------------------------------------- wrong input


def test_errors_name_the_remedy():
    x = torch.randn(4, 3)
    with pytest.raises(ShapeError, match="one space"):
        sliced_wasserstein(x, torch.randn(4, 2))
    with pytest.raises(ShapeError, match="dimension 2 only"):
        directions(4, 3, "grid")
    with pytest.raises(InputError, match="kind='spirals' is unknown"):
        directions(4, 3, "spirals")
    with pytest.raises(InputError, match="unit sphere"):
        spherical_sliced_wasserstein(2 * x, x)
    with pytest.raises(InputError, match="p must lie in"):
        sliced_wasserstein(x, x, p=0.5)
    with pytest.raises(InputError, match="NaN"):
        sliced_wasserstein(x * math.nan, x)

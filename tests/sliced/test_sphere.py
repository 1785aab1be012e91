"""The sphere: points on the axis, linear embeddings, poles from rotations, trees, and known faults of other codes."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from draws import generator
from monge.errors import InputError, ShapeError
from monge.sliced import Circular, GreatCircles, estimate, frames, rotations, spherical_sliced_wasserstein
from monge.sliced.sphere import (
    SphericalTreeSystem,
    Stereographic,
    rotated_frames,
    spherical_embedding,
    spherical_tree_sliced_wasserstein,
    spherical_tree_system,
    spherical_uniformity,
)


def sphere(n, d, seed):
    return torch.nn.functional.normalize(torch.randn(n, d, generator=generator(seed), dtype=torch.float64), dim=-1)


# ---------------------------------------------------------------- great circles


def test_points_on_the_axis_leave_their_mass_to_the_others():
    frame = torch.eye(3, dtype=torch.float64)[None, :2]
    x, y = sphere(5, 3, 0), sphere(4, 3, 1)
    with_pole = torch.cat([x, torch.tensor([[0.0, 0.0, 1.0]], dtype=x.dtype)])
    for family in ("great-circles", "linear"):
        bare = spherical_sliced_wasserstein(x, y, family=family, frame=frame).cost
        poled = spherical_sliced_wasserstein(with_pole, y, family=family, frame=frame).cost
        torch.testing.assert_close(poled, bare)
        a = torch.rand(6, generator=generator(), dtype=x.dtype)
        bare = spherical_sliced_wasserstein(x, y, a[:5], family=family, frame=frame).cost
        poled = spherical_sliced_wasserstein(with_pole, y, a, family=family, frame=frame).cost
        torch.testing.assert_close(poled, bare)
    leaf = with_pole.clone().requires_grad_()
    (slope,) = torch.autograd.grad(spherical_sliced_wasserstein(leaf, y, frame=frame).cost, leaf)
    assert slope.isfinite().all()
    assert (slope[-1] == 0).all()
    pole = with_pole[-1:]  # a cloud that no circle of the frame sees still has a distance
    assert spherical_sliced_wasserstein(pole, y, frame=frame).cost.isfinite()
    torch.testing.assert_close(
        spherical_embedding(with_pole, frame=frame, size=50), spherical_embedding(x, frame=frame, size=50)
    )


def test_embeddings_carry_the_linear_distance_and_batches():
    frame = frames(7, 4, generator=generator(), dtype=torch.float64)
    x, y = torch.stack([sphere(12, 4, 0), sphere(12, 4, 2)]), sphere(9, 4, 1)
    a = torch.rand(2, 12, generator=generator(3), dtype=x.dtype)
    first, second = spherical_embedding(x, a, frame=frame, size=4000), spherical_embedding(y, frame=frame, size=4000)
    assert first.shape == (2, 7, 4000)
    way = first - second
    way = way - way.round()
    exact = spherical_sliced_wasserstein(x, y, a, family="linear", frame=frame)
    torch.testing.assert_close(way.square().mean(-1), exact.slices, rtol=2e-2, atol=1e-4)
    torch.testing.assert_close(way.square().mean((-1, -2)), exact.cost, rtol=1e-2, atol=0)


def test_linear_distance_to_a_fine_uniform_circle_is_the_exact_one():
    frame = torch.eye(2, dtype=torch.float64)[None]
    ring = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000 * 2 * math.pi
    uniform = torch.stack([ring.cos(), ring.sin()], -1)
    x = sphere(8, 2, 0)
    linear = spherical_sliced_wasserstein(x, uniform, family="linear", frame=frame).cost
    torch.testing.assert_close(linear, spherical_uniformity(x, frame=frame), rtol=1e-3, atol=0)
    exact = spherical_sliced_wasserstein(x, uniform, frame=frame).cost
    torch.testing.assert_close(linear, exact, rtol=1e-3, atol=0)


def test_antipodes_are_half_a_turn_away():
    frame = frames(30, 4, generator=generator(), dtype=torch.float64)
    x = sphere(1, 4, 0)
    torch.testing.assert_close(
        spherical_sliced_wasserstein(x, -x, frame=frame).slices, torch.full((30,), 0.25, dtype=x.dtype)
    )


def test_uniform_samples_come_close_like_one_over_their_number():
    frame = frames(60, 3, generator=generator(), dtype=torch.float64)
    costs = torch.stack(
        [
            torch.stack([spherical_uniformity(sphere(n, 3, seed), frame=frame) for seed in range(12)]).mean()
            for n in (100, 1600)
        ]
    )
    slope = (costs[1] / costs[0]).log() / math.log(16)
    assert -1.2 < slope < -0.8


# ---------------------------------------------------------------- stereographic lines


@pytest.mark.parametrize("d", [3, 5])
def test_antipodal_points_whatever_the_form(d):
    # Squared value 1 / (d - 1) in R^d; the mismatched radial map in circulation gives about 0.9 on the two-sphere.
    x = torch.zeros(1, d, dtype=torch.float64)
    x[0, 0] = 1
    pool = rotations(300, d, generator=generator())
    for rotation in (torch.eye(d, dtype=x.dtype)[None], pool):
        frame = rotated_frames(rotation, 20_000 // len(rotation), generator=generator())
        gram = frame @ frame.mT
        torch.testing.assert_close(gram, torch.eye(2, dtype=x.dtype).expand_as(gram))
        found = spherical_sliced_wasserstein(x, -x, family="stereographic", frame=frame).cost.item()
        assert found == pytest.approx(1 / (d - 1), rel=0.08)


def test_one_pole_a_slice_agrees_in_mean_with_full_rotations_and_varies_less():
    x = sphere(40, 3, 0)
    y = torch.nn.functional.normalize(sphere(40, 3, 1) + torch.tensor([0.5, 0, 0.5], dtype=x.dtype), dim=-1)

    def cost(frame):
        return spherical_sliced_wasserstein(x, y, family="stereographic", frame=frame).cost

    own = torch.stack([cost(frames(60, 3, generator=generator(k), dtype=x.dtype)) for k in range(100)])
    few = torch.stack(
        [cost(rotated_frames(rotations(3, 3, generator=generator(k)), 20, generator=generator(k))) for k in range(100)]
    )
    assert abs(own.mean() - few.mean()) < 4 * math.sqrt((own.var() + few.var()) / 100)
    assert own.std() < few.std()


def test_the_plain_distance_is_invariant_around_its_pole_only():
    x, y = sphere(20, 3, 0), sphere(20, 3, 1)
    frame = rotated_frames(torch.eye(3, dtype=x.dtype)[None], 50, generator=generator())
    turn = torch.eye(3, dtype=x.dtype)
    turn[:2, :2] = rotations(1, 2, generator=generator())[0]

    def cost(x, y, frame):
        return spherical_sliced_wasserstein(x, y, family="stereographic", frame=frame).cost

    torch.testing.assert_close(cost(x @ turn, y @ turn, frame @ turn), cost(x, y, frame))
    assert (frame[:, 0] == frame[0, 0]).all()
    tilt = rotations(1, 3, generator=generator())[0]
    assert (cost(x @ tilt, y @ tilt, frame) - cost(x, y, frame)).abs() > 1e-3


def test_clouds_at_the_poles():
    # Two concentrated clouds, south against north: around the last axis the north is torn to the rim of the ball.
    g = generator()
    south, north = (
        torch.nn.functional.normalize(
            torch.tensor([0.0, 0, sign], dtype=torch.float64) + 0.0316 * torch.randn(400, 3, generator=g).double(),
            dim=-1,
        )
        for sign in (-1, 1)
    )
    plain, invariant = (
        spherical_sliced_wasserstein(
            south, north, family="stereographic", frame=rotated_frames(rotation, count, generator=g)
        ).cost
        for rotation, count in ((torch.eye(3, dtype=torch.float64)[None], 500), (rotations(500, 3, generator=g), 1))
    )
    assert plain.item() == pytest.approx(0.474, abs=0.01)
    assert invariant.item() == pytest.approx(0.495, abs=0.03)  # antipodal points: 1 / 2


@pytest.mark.parametrize("family", ["great-circles", "linear", "stereographic", "vertical"])
def test_input_is_never_modified_and_poles_give_finite_slopes(family):
    x = torch.cat([sphere(10, 3, 0), torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    y = sphere(12, 3, 1)
    held = x.clone(), y.clone()
    frame = torch.cat([torch.eye(3, dtype=x.dtype)[None, [2, 0]], frames(5, 3, generator=generator(), dtype=x.dtype)])
    leaf = x.requires_grad_()
    (slope,) = torch.autograd.grad(spherical_sliced_wasserstein(leaf, y, family=family, frame=frame).cost, leaf)
    assert slope.isfinite().all()
    assert torch.equal(x, held[0])
    assert torch.equal(y, held[1])


def test_vertical_slices_are_heights():
    x, y = sphere(9, 3, 0), sphere(9, 3, 1)
    frame = frames(6, 3, generator=generator(), dtype=x.dtype)
    found = spherical_sliced_wasserstein(x, y, family="vertical", frame=frame).slices
    heights = [(frame[:, 0] @ side.T).sort(-1).values for side in (x, y)]
    torch.testing.assert_close(found, (heights[0] - heights[1]).square().mean(-1))


# ---------------------------------------------------------------- trees


def star(places, rays, weights):
    """Transport on a star of rays by a linear program."""
    n = len(places)
    same = rays[:, None] == rays
    cost = np.where(same, np.abs(places[:, None] - places), places[:, None] + places)
    positive, negative = np.maximum(weights, 0), np.maximum(-weights, 0)
    equal = np.vstack([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])[:-1]
    return linprog(cost.ravel(), A_eq=equal, b_eq=np.r_[positive, negative][:-1], bounds=(0, None)).fun


def test_spherical_trees_against_a_linear_program():
    x, y = sphere(5, 3, 0), sphere(4, 3, 1)
    a, b = (torch.rand(n, generator=generator(n), dtype=x.dtype) for n in (5, 4))
    a, b = a / a.sum(), b / b.sum()
    system = spherical_tree_system(3, trees=5, rays=3, generator=generator(77), dtype=x.dtype)
    found = spherical_tree_sliced_wasserstein(x, y, a, b, system=system, sharpness=2.0)
    for tree in range(5):
        places, rays, weights = [], [], []
        root, theta = system.root[tree], system.theta[tree]
        for cloud, mass in ((x, a), (y, -b)):
            for point, weight in zip(cloud, mass, strict=True):
                t = torch.arccos(root @ point)
                aside = torch.nn.functional.normalize(point - (root @ point) * root, dim=0)
                share = (-2.0 * torch.arccos((theta @ aside).clamp(-1, 1)) * t.sin()).softmax(0)
                for ray in range(3):
                    places.append(t.item())
                    rays.append(ray)
                    weights.append(float(weight * share[ray]))
        expected = star(np.array(places), np.array(rays), np.array(weights))
        assert found.slices[tree].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_spherical_trees_are_rotation_invariant_distances(p):
    x, y, z = sphere(7, 4, 0), sphere(5, 4, 1), sphere(6, 4, 2)
    system = spherical_tree_system(4, trees=9, generator=generator(77), dtype=x.dtype)

    def distance(one, other):
        return spherical_tree_sliced_wasserstein(one, other, system=system, p=p).distance

    torch.testing.assert_close(distance(x, y), distance(y, x))
    assert distance(x, x) < 1e-7
    assert distance(x, y) <= distance(x, z) + distance(z, y) + 1e-12
    turn = rotations(1, 4, generator=generator())[0]
    turned = SphericalTreeSystem(system.root @ turn, system.theta @ turn)
    found = spherical_tree_sliced_wasserstein(x @ turn, y @ turn, system=turned, p=p).distance
    torch.testing.assert_close(found, distance(x, y))
    leaf, a = x[:4].clone().requires_grad_(), torch.rand(4, generator=generator(), dtype=x.dtype).requires_grad_()

    def cost(points, a):
        unit = torch.nn.functional.normalize(points, dim=-1)
        return spherical_tree_sliced_wasserstein(unit, y, a, system=system, p=p).cost

    assert torch.autograd.gradcheck(cost, (leaf, a), atol=1e-6)


def test_wrong_input_is_told():
    x = sphere(4, 3, 0)
    with pytest.raises(InputError, match="unit sphere"):
        spherical_tree_sliced_wasserstein(2 * x, x)
    with pytest.raises(InputError, match="unit sphere"):
        spherical_embedding(2 * x, frame=torch.eye(3, dtype=x.dtype)[None, :2])
    with pytest.raises(ShapeError, match="two dimensions"):
        spherical_tree_system(1)
    with pytest.raises(ShapeError, match="rotation must have shape"):
        rotated_frames(torch.eye(3), 4)
    with pytest.raises(ShapeError, match="one space"):
        estimate(x, sphere(4, 4, 0), slicer=GreatCircles(torch.eye(3, dtype=x.dtype)[None, :2]), line=Circular())
    assert Stereographic(torch.eye(3)[None, :2]).count == 1

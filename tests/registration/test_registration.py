"""Registration: known motions under outliers, where the usual iteration fails; warps; transformations."""

import math

import pytest
import torch

from draws import generator
from monge.errors import InputError, ShapeError
from monge.registration import Plans, Rigid, Slices, Warp, nonrigid, rigid
from monge.registration.rigid import procrustes, spread, start_rotations


def crooked(count, d, g):
    """Points along a random crooked line."""
    knots = torch.randn(6, d, generator=g).double().cumsum(0)
    knots = (knots - knots.mean(0)) / (knots - knots.mean(0)).norm(dim=1).mean()
    k = torch.randint(0, 5, (count,), generator=g)
    along = torch.rand(count, 1, generator=g).double()
    thick = 0.02 * torch.randn(count, d, generator=g).double()
    return knots[k] * (1 - along) + knots[k + 1] * along + thick


def clutter(points, count, g):
    d = points.shape[-1]
    box = 5.4 * points.std(0).max() * (torch.rand(count, d, generator=g).double() - 0.5)
    return torch.cat([points, points.mean(0) + box])


def instance(d, seed, *, count=120, outliers=0.4, noise=0.0, scale=1.0):
    """A cloud, the same after a random motion, and outliers in both: the given share of either cloud."""
    g = generator(seed)
    x = crooked(count, d, g)
    q, r = torch.linalg.qr(torch.randn(d, d, generator=g).double())
    q = q * r.diagonal().sign()
    q[:, 0] *= torch.det(q).sign()
    shift = torch.randn(d, generator=g).double()
    motion = Rigid(q, shift, torch.tensor(scale).double())
    y = motion(x) + noise * torch.randn(count, d, generator=g).double()
    extra = round(count * outliers / (1 - outliers))
    return clutter(x, extra, g), clutter(y[torch.randperm(count, generator=g)], extra, g), motion, x


def closest_points(x, y, steps=60):
    """The usual iteration: nearest neighbours, then the best motion."""
    d = x.shape[-1]
    motion = Rigid(torch.eye(d).double(), y.mean(0) - x.mean(0), torch.ones(()).double())
    for _ in range(steps):
        nearest = y[torch.cdist(motion(x), y).argmin(1)]
        motion = procrustes(x, _Goals(nearest, torch.ones(len(x)).double()), False)
    return motion


class _Goals:
    def __init__(self, place, weight):
        self.place, self.weight = place, weight


def error(found, true, x):
    return float((found(x) - true(x)).norm(dim=-1).max())


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("matching", [Slices(), Plans()])
def test_a_motion_is_recovered_under_forty_per_cent_outliers(d, matching):
    for seed in range(2):
        x, y, motion, clean = instance(d, seed)
        found = rigid(x, y, matching=matching, generator=generator(seed))
        assert error(found.transformation, motion, clean) < 1e-6
        assert error(closest_points(x, y), motion, clean) > 0.1
        assert found.inliers[: len(clean)].all()
        assert found.inliers[len(clean) :].sum() <= 2
        assert found.matched == pytest.approx(len(clean), abs=2)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_twenty_motions(d, noise):
    failures = 0
    for seed in range(20):
        x, y, motion, clean = instance(d, 100 + seed, noise=noise)
        found = rigid(x, y, generator=generator(seed))
        failures += error(found.transformation, motion, clean) > max(noise, 1e-6)
    assert failures <= 1


def test_noise_and_scale():
    x, y, motion, clean = instance(2, 5, noise=0.02, scale=1.7)
    found = rigid(x, y, scale=True, generator=generator())
    assert found.transformation.scale.item() == pytest.approx(1.7, rel=0.02)
    assert error(found.transformation, motion, clean) < 0.05
    # The penalty stops at the noise, not before and not after.
    assert 1e-5 < found.penalty < 1e-1


def test_far_outliers_hardly_change_the_answer():
    x, y, _, clean = instance(2, 6, outliers=0.0, noise=0.01)
    far = 1e3 + torch.randn(20, 2, generator=generator()).double()
    plain = rigid(x, y, generator=generator())
    more = rigid(torch.cat([x, far]), torch.cat([y, -far]), generator=generator())
    assert error(more.transformation, plain.transformation, clean) < 0.01
    assert not more.inliers[-20:].any()


def test_the_knee_and_a_share_stop_by_themselves():
    x, y, motion, clean = instance(2, 7, outliers=0.15)
    for mass in ("knee", 0.85):
        found = rigid(x, y, matching=Slices(mass=mass), generator=generator())
        assert error(found.transformation, motion, clean) < 0.1


def test_same_seed_same_answer_and_dtype():
    x, y, *_ = instance(2, 8)
    one, two = (rigid(x.float(), y.float(), generator=generator(3)) for _ in range(2))
    assert torch.equal(one.transformation.rotation, two.transformation.rotation)
    assert one.transformation.rotation.dtype == torch.float32
    steps = []
    rigid(x, y, generator=generator(), progress=lambda done, most: steps.append((done, most)))
    assert steps[0] == (1, 210)
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("d", [1, 4])
def test_other_dimensions(d):
    g = generator(d)
    x = torch.randn(60, d, generator=g).double() * torch.arange(1, d + 1)
    turn = start_rotations(d, 2, generator(9))[-1]
    turn = torch.matrix_exp(0.2 * (turn - turn.T))
    found = rigid(x, x @ turn.T + 3.0, starts=4, generator=g)
    torch.testing.assert_close(found.transformation.rotation, turn, atol=1e-6, rtol=0)


def test_starting_rotations_are_proper_and_spread():
    for d, count in ((2, 12), (3, 60), (5, 9)):
        turns = start_rotations(d, count, generator())
        assert turns.shape == (count, d, d)
        gram = turns @ turns.transpose(-1, -2)
        torch.testing.assert_close(gram, torch.eye(d).double().expand_as(gram))
        torch.testing.assert_close(torch.linalg.det(turns), torch.ones(count).double())
    cosine = (torch.einsum("aij,bij->ab", turns := start_rotations(3, 60, None), turns) - 1) / 2
    nearest = cosine.fill_diagonal_(-1).amax(-1).clamp(-1, 1).acos()
    assert nearest.max() < math.radians(75)
    assert nearest.min() > math.radians(15)
    assert spread(torch.cat([torch.randn(99, 2), 1e6 * torch.ones(20, 2)])) < 10


# ---------------------------------------------------------------- warps


def bent(x):
    return x + 0.12 * torch.sin(2 * x.flip(-1))


@pytest.mark.parametrize("kernel", ["thin-plate", "gaussian"])
@pytest.mark.parametrize("matching", [Slices(), Plans()])
def test_affine_maps_are_recovered_exactly(kernel, matching):
    g = generator(1)
    x = crooked(150, 2, g)
    matrix = torch.eye(2).double() + 0.05 * torch.randn(2, 2, generator=g).double()
    found = nonrigid(x, x @ matrix.T + 0.1, kernel=kernel, matching=matching, generator=g)
    torch.testing.assert_close(found.transformation(x), x @ matrix.T + 0.1, atol=1e-6, rtol=0)


@pytest.mark.parametrize("d", [2, 3])
def test_bent_clouds_with_outliers(d):
    for seed in range(2):
        g = generator(seed)
        x = crooked(150, d, g)
        source, target = clutter(x, 60, g), clutter(bent(x)[torch.randperm(150, generator=g)], 60, g)
        found = nonrigid(source, target, generator=g)
        before = (x - bent(x)).norm(dim=-1).median()
        assert (found.transformation(x) - bent(x)).norm(dim=-1).median() < 0.25 * before
        assert found.inliers[:150].double().mean() > 0.6
        assert found.inliers[150:].double().mean() < 0.25


def test_a_warp_starts_from_a_motion():
    x, y, motion, clean = instance(2, 3, outliers=0.2)
    start = rigid(x, y, generator=generator()).transformation
    twisted = torch.cat([bent(y[: len(clean)]), y[len(clean) :]])
    found = nonrigid(x, twisted, start=start, generator=generator())
    error = (found.transformation(clean) - bent(motion(clean))).norm(dim=-1).median()
    assert error < 0.25 * (bent(motion(clean)) - motion(clean)).norm(dim=-1).median()


# ---------------------------------------------------------------- transformations, errors


def test_motions_invert_and_take_batches():
    motion = Rigid(start_rotations(3, 9, None)[4], torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor(1.5).double())
    x = torch.randn(4, 10, 3).double()
    torch.testing.assert_close(motion.inverse()(motion(x)), x)
    assert motion(x.float()).dtype == torch.float32
    leaf = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(motion, leaf[:1, :2])


def test_wrong_input_is_told():
    x, y = torch.rand(5, 2), torch.rand(5, 3)
    with pytest.raises(ShapeError, match="one space"):
        rigid(x, y)
    with pytest.raises(ShapeError, match="one by one"):
        nonrigid(torch.rand(2, 5, 2), torch.rand(2, 5, 2))
    with pytest.raises(InputError, match="starts"):
        rigid(x, x, starts=0)
    with pytest.raises(InputError, match="penalty"):
        nonrigid(x, x, penalty=0.0)
    with pytest.raises(InputError, match="'spline' is unknown"):
        nonrigid(x, x, kernel="spline")
    with pytest.raises(InputError, match="mass"):
        Slices(mass=1.5)
    with pytest.raises(ShapeError, match="must have shapes"):
        Rigid(torch.eye(2), torch.zeros(3), torch.ones(()))
    start = Rigid(torch.eye(2), torch.zeros(2), torch.ones(()))
    with pytest.raises(ShapeError, match="point by point"):
        Warp(start, torch.eye(2), torch.zeros(2), torch.zeros(3, 2), torch.zeros(4, 2), torch.ones(()))


@pytest.mark.parametrize("far", [1e5, -1e7])
def test_warps_do_not_depend_on_where_the_clouds_are(far):
    x = torch.rand(120, 2, generator=generator(), dtype=torch.float64)
    y = x + 0.1 * torch.sin(3 * x.flip(-1))
    near, moved = (nonrigid(x + o, y + o, generator=generator(1)).transformation(x + o) - o for o in (0.0, far))
    torch.testing.assert_close(moved, near, rtol=0, atol=1e-3)

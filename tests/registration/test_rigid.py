"""Rigid motions under outliers, partial overlap, noise and other densities, and whether the verdict can be trusted."""

import math
from contextlib import nullcontext

import pytest
import torch
from scipy.spatial import KDTree

from draws import generator
from monge.errors import ConvergenceWarning, InputError, ShapeError
from monge.registration import Rigid, Verdict, rigid
from registration.clouds import crooked, error, instance, turned, with_clutter


def views(d, seed, overlap, count=260):
    """Two parts of a crooked line: the first points and the last points along a direction, and the motion between."""
    g = generator(seed)
    whole = crooked(count, d, g)
    whole = whole[(whole @ torch.randn(d, generator=g).double()).argsort()]
    seen = round(count / (2 - overlap))
    motion = turned(d, g)
    noise = 0.005 * torch.randn(2, seen, d, generator=g).double()
    return whole[:seen] + noise[0], motion(whole[-seen:]) + noise[1], motion


def degrees(found, true):
    d = len(true.rotation)
    cosine = ((found.rotation * true.rotation).sum() - (d - 2)) / 2
    return math.degrees(cosine.clamp(-1, 1).acos())


def closest_points(x, y, steps=60):
    """The usual iteration: nearest neighbours, then the best motion."""
    rotation, shift = torch.eye(x.shape[-1]).double(), y.mean(0) - x.mean(0)
    tree = KDTree(y.numpy())
    for _ in range(steps):
        near = y[tree.query((x @ rotation.T + shift).numpy())[1]]
        left, _, right = torch.linalg.svd((near - near.mean(0)).T @ (x - x.mean(0)))
        left[:, -1] *= torch.det(left @ right).sign()
        rotation = left @ right
        shift = near.mean(0) - rotation @ x.mean(0)
    return Rigid(rotation, shift, torch.ones(()).double())


# ---------------------------------------------------------------- motions


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("outliers", [0.4, 0.5])
def test_a_motion_is_recovered_under_outliers(d, outliers):
    x, y, motion, clean = instance(d, 1, outliers=outliers)
    found = rigid(x, y, generator=generator())
    assert error(found.transformation, motion, clean) < 1e-6
    assert error(closest_points(x, y), motion, clean) > 0.1
    assert found.inliers[: len(clean)].all()
    assert found.inliers[len(clean) :].sum() <= 6
    assert found.matched == pytest.approx(len(clean), abs=8)
    assert found.verdict is Verdict.SURE
    torch.testing.assert_close(found.fitness, torch.full((2,), 1 - outliers).double(), atol=0.03, rtol=0)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("overlap", [0.8, 0.6])
def test_two_views_that_share_a_part(d, overlap):
    x, y, motion = views(d, 0, overlap)
    found = rigid(x, y, generator=generator())
    assert degrees(found.transformation, motion) < 2
    assert error(found.transformation, motion, x) < 0.1
    torch.testing.assert_close(found.fitness, torch.full((2,), overlap).double(), atol=0.15, rtol=0)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("angle", [0.0, 90.0, 170.0])
def test_large_turns(d, angle):
    x = crooked(150, d, generator(d))
    turn = torch.eye(d).double()
    turn[0, :2] = torch.tensor([math.cos(math.radians(angle)), -math.sin(math.radians(angle))])
    turn[1, :2] = torch.tensor([math.sin(math.radians(angle)), math.cos(math.radians(angle))])
    found = rigid(x, x @ turn.T, generator=generator())
    torch.testing.assert_close(found.transformation.rotation, turn, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.transformation.translation, torch.zeros(d).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("d", [2, 3])
def test_noise_and_scale(d):
    x, y, motion, clean = instance(d, 5, noise=0.02, scale=1.7)
    found = rigid(x, y, scale=True, generator=generator())
    assert found.transformation.scale.item() == pytest.approx(1.7, rel=0.02)
    assert error(found.transformation, motion, clean) < 0.06
    assert found.verdict is Verdict.SURE
    assert 0.01 < found.rmse < 0.1


@pytest.mark.parametrize("d", [2, 3])
def test_a_cloud_that_is_sampled_again_and_thinner(d):
    g = generator(3)
    many = crooked(900, d, g)
    motion = turned(d, g)
    found = rigid(many[:400], motion(many[600:780]), generator=g)
    assert degrees(found.transformation, motion) < 3


def test_far_outliers_hardly_change_the_answer():
    x, y, _, clean = instance(2, 6, outliers=0.0, noise=0.01)
    far = 1e3 + torch.randn(20, 2, generator=generator()).double()
    plain = rigid(x, y, generator=generator())
    more = rigid(torch.cat([x, far]), torch.cat([y, -far]), generator=generator())
    assert error(more.transformation, plain.transformation, clean) < 0.01
    assert not more.inliers[-20:].any()


@pytest.mark.parametrize("d", [1, 4])
def test_other_dimensions(d):
    g = generator(d)
    x = torch.randn(60, d, generator=g).double() * torch.arange(1, d + 1)
    motion = turned(d, g)
    found = rigid(x, motion(x), generator=g)
    torch.testing.assert_close(found.transformation.rotation, motion.rotation, atol=1e-6, rtol=0)


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


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 3])
def test_twenty_pairs_of_views(d):
    right = 0
    for seed in range(20):
        x, y, motion = views(d, 200 + seed, 0.6)
        right += degrees(rigid(x, y, generator=generator(seed)).transformation, motion) < 5
    assert right >= 18


# ---------------------------------------------------------------- the verdict and the plan


def square(count, g):
    """A square: four motions explain it equally well."""
    side, along = torch.randint(4, (count,), generator=g), torch.rand(count, generator=g).double() - 0.5
    corner = torch.stack([along, torch.full_like(along, 0.5)], -1)
    turns = torch.tensor([[1.0, 0, 0, 1], [0, -1, 1, 0], [-1, 0, 0, -1], [0, 1, -1, 0]]).double().view(4, 2, 2)
    return (turns[side] @ corner[..., None])[..., 0]


def test_a_symmetric_shape_is_ambiguous():
    g = generator()
    x, y = square(300, g), square(300, g)
    with pytest.warns(ConvergenceWarning, match="Ambiguous"):
        found = rigid(x, y, generator=g)
    assert found.verdict is Verdict.AMBIGUOUS
    assert not found.converged
    assert 0 <= found.margin < 1
    between = degrees(found.runner_up, found.transformation)
    assert between == pytest.approx(90, abs=4) or between == pytest.approx(180, abs=4)


def test_clouds_without_a_common_part_are_not_sure():
    g = generator()
    x, y = torch.rand(150, 3, generator=g).double(), torch.rand(150, 3, generator=g).double()
    with pytest.warns(ConvergenceWarning):
        found = rigid(x, y, generator=g)
    assert not found.converged


def test_a_wrong_start_fails_and_a_good_start_is_refined():
    x, y, motion, clean = instance(2, 1)
    close = motion._replace(rotation=motion.rotation @ torch.tensor([[0.995, -0.0998], [0.0998, 0.995]]).double())
    found = rigid(x, y, start=close, generator=generator())
    assert error(found.transformation, motion, clean) < 1e-6
    assert found.verdict is Verdict.REFINED
    assert found.converged
    assert found.margin == math.inf
    assert found.iterations < rigid(x, y, generator=generator()).iterations
    away = motion._replace(translation=motion.translation + 40)
    with pytest.warns(ConvergenceWarning, match="Failed"):
        lost = rigid(x, y, start=away, generator=generator())
    assert lost.verdict is Verdict.FAILED


def test_a_start_keeps_its_scale():
    x, y, motion, clean = instance(2, 1, scale=1.5)
    found = rigid(x, y, start=motion, generator=generator())
    assert found.transformation.scale == 1.5
    assert error(found.transformation, motion, clean) < 1e-6


@pytest.mark.parametrize("d", [2, 3])
def test_the_plan_is_partial_and_explains_the_weights(d):
    x, y, _motion, clean = instance(d, 2, noise=0.01)
    found = rigid(x, y, generator=generator())
    rows, columns = found.plan.marginals()
    assert rows.max() <= 1 + 1e-2
    assert columns.max() <= 1 + 1e-2
    assert rows[: len(clean)].mean() > 0.7
    assert rows[len(clean) :].mean() < 0.2
    torch.testing.assert_close(found.goal, found.plan.barycentric(y))
    near = found.weights > 0.9
    assert (found.goal - found.transformation(x))[near].norm(dim=-1).median() < 0.05
    assert found.target_weights.shape == (len(y),)
    assert 0.005 < found.rmse < 0.02
    # What is farther away than the penalty says has no partner.
    distance = torch.cdist(found.transformation(x), y).min(-1).values
    assert not found.inliers[distance > 1.5 * math.sqrt(2 * found.penalty)].any()


# ---------------------------------------------------------------- what must not matter


def test_the_same_generator_gives_the_same_answer_and_progress_is_told():
    x, y, *_ = instance(2, 8)
    one, two = (rigid(x.float(), y.float(), generator=generator(3)) for _ in range(2))
    assert torch.equal(one.transformation.rotation, two.transformation.rotation)
    assert torch.equal(one.weights, two.weights)
    for tensor in one._tensors():
        assert tensor.dtype == torch.float32
    steps = []
    found = rigid(x, y, generator=generator(), progress=lambda done, most: steps.append((done, most)))
    assert [done for done, _ in steps] == list(range(1, found.iterations + 1))
    assert steps[-1] == (found.iterations, found.iterations)


@pytest.mark.parametrize(("far", "unit"), [(1e6, 1.0), (0.0, 1e6), (0.0, 1e-6), (-1e5, 1e-3)])
def test_neither_origin_nor_unit_matter(far, unit):
    x, y, _motion, clean = instance(2, 4, noise=0.01)
    near = rigid(x, y, generator=generator())
    there = rigid(unit * x + far, unit * y - far, generator=generator())
    torch.testing.assert_close(there.transformation.rotation, near.transformation.rotation, atol=1e-5, rtol=0)
    moved = (there.transformation(unit * clean + far) + far) / unit
    torch.testing.assert_close(moved, near.transformation(clean), atol=1e-5, rtol=0)
    assert there.rmse == pytest.approx(near.rmse * unit, rel=1e-3)
    assert there.penalty == pytest.approx(near.penalty * unit**2, rel=1e-3)
    assert there.margin == pytest.approx(near.margin, abs=0.05)


@pytest.mark.parametrize("scale", [False, True])
def test_source_and_target_may_be_exchanged(scale):
    x, y, _motion, clean = instance(2, 4, noise=0.01, scale=1.3 if scale else 1.0)
    there, back = rigid(x, y, scale=scale, generator=generator()), rigid(y, x, scale=scale, generator=generator())
    assert error(there.transformation, back.transformation.inverse(), clean) < 0.02
    torch.testing.assert_close(there.fitness, back.fitness.flip(0), atol=0.02, rtol=0)


def test_the_order_of_the_points_does_not_matter():
    x, y, motion, clean = instance(3, 2)
    order = torch.randperm(len(x), generator=generator(5))
    found = rigid(x[order], y, generator=generator())
    assert error(found.transformation, motion, clean) < 1e-6


# ---------------------------------------------------------------- errors


def test_wrong_input_is_told():
    x = torch.rand(9, 2, generator=generator())
    with pytest.raises(ShapeError, match="one space"):
        rigid(x, torch.rand(9, 3))
    with pytest.raises(ShapeError, match="one by one"):
        rigid(x[None], x[None])
    with pytest.raises(ShapeError, match=r"target must hold at least d \+ 1 = 3 points"):
        rigid(x, x[:2])
    with pytest.raises(InputError, match="source must hold different points"):
        rigid(torch.ones(9, 2), x)
    with pytest.raises(InputError, match="neither NaN nor inf"):
        rigid(x, x.clone().fill_(math.nan))
    with pytest.raises(ShapeError, match="start must be one motion of 2 dimensions"):
        rigid(x, x, start=Rigid(torch.eye(3), torch.zeros(3), torch.ones(())))
    with pytest.raises(InputError, match="start must be a Rigid, but is RigidRegistration"):
        rigid(x, x, start=rigid(x, x, generator=generator()))


@pytest.mark.parametrize("shape", ["few", "grid", "line", "twice"])
def test_odd_clouds_give_an_answer_or_a_doubt(shape):
    clouds = {
        "few": torch.tensor([[0.0, 0], [2, 0], [0, 1]]),
        "grid": torch.cartesian_prod(torch.arange(6.0), torch.arange(5.0)),
        "line": torch.linspace(0, 1, 40)[:, None] * torch.tensor([[1.0, 2]]),
        "twice": torch.rand(30, 2, generator=generator()).repeat(8, 1),
    }
    x = clouds[shape].double()
    with pytest.warns(ConvergenceWarning) if shape != "twice" else nullcontext():
        found = rigid(x, x + 1, generator=generator())
    assert torch.isfinite(found.transformation.translation).all()
    assert torch.isfinite(found.goal).all()
    gram = found.transformation.rotation @ found.transformation.rotation.T
    torch.testing.assert_close(gram, torch.eye(2).double())


def test_clutter_alone_is_not_an_object():
    g = generator(1)
    with pytest.warns(ConvergenceWarning):
        rigid(torch.randn(40, 2, generator=g).double(), with_clutter(torch.randn(5, 2, generator=g).double(), 40, g))

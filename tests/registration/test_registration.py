"""Registration: warps, transformations, and rigid motions that are easy; `test_rigid.py` has those that are not."""

import pytest
import torch

from draws import generator
from monge.errors import InputError, ShapeError
from monge.registration import Plans, Rigid, Slices, Warp, nonrigid, rigid
from registration.clouds import crooked, instance, with_clutter

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
        source, target = with_clutter(x, 60, g), with_clutter(bent(x)[torch.randperm(150, generator=g)], 60, g)
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
    turn = torch.matrix_exp(torch.tensor([[0.0, -1, 2], [1, 0, 3], [-2, -3, 0]]).double())
    motion = Rigid(turn, torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor(1.5).double())
    x = torch.randn(4, 10, 3).double()
    torch.testing.assert_close(motion.inverse()(motion(x)), x)
    assert motion(x.float()).dtype == torch.float32
    leaf = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(motion, leaf[:1, :2])


def test_wrong_input_is_told():
    x, y = torch.rand(5, 2), torch.rand(5, 3)
    with pytest.raises(ShapeError, match="one space"):
        nonrigid(x, y)
    with pytest.raises(ShapeError, match="one by one"):
        nonrigid(torch.rand(2, 5, 2), torch.rand(2, 5, 2))
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


@pytest.mark.parametrize("matching", [Slices(), Plans()])
@pytest.mark.parametrize(("far", "unit"), [(1e5, 1.0), (-1e6, 1.0), (0.0, 1e6), (0.0, 1e-6), (1e6, 1e-2)])
def test_warps_do_not_depend_on_where_the_clouds_are_nor_on_the_unit(far, unit, matching):
    x = torch.rand(120, 2, generator=generator(), dtype=torch.float64)
    y = x + 0.1 * torch.sin(3 * x.flip(-1))
    near = nonrigid(x, y, matching=matching, generator=generator(1), steps=40)
    there = nonrigid(unit * x + far, unit * y + far, matching=matching, generator=generator(1), steps=40)
    moved = (there.transformation(unit * x + far) - far) / unit
    torch.testing.assert_close(moved, near.transformation(x), rtol=0, atol=1e-5)
    assert there.penalty == pytest.approx(near.penalty * unit**2, rel=1e-3)
    torch.testing.assert_close((there.goal - far) / unit, near.goal, rtol=0, atol=1e-4)


def test_a_warp_begins_with_a_motion_between_units():
    x = torch.rand(120, 2, generator=generator(), dtype=torch.float64)
    y = x + 0.1 * torch.sin(3 * x.flip(-1))
    start = Rigid(torch.eye(2), torch.tensor([1e6, 1e6]), torch.tensor(1e3)).to(torch.float64)
    found = nonrigid(x, 1e3 * y + 1e6, start=start, generator=generator(1))
    assert (found.transformation(x) - 1e3 * y - 1e6).norm(dim=-1).median() < 3

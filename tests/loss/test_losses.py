"""Losses: the functions behind them, closed forms, both orders of arguments, precision, batches, compilation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import monge
from draws import cloud, draw, generator
from monge.errors import DtypeError, InfeasibleError, InputError
from monge.loss import ChamferLoss, EarthMoverLoss, Loss, SinkhornLoss, SlicedLoss
from monge.solver import Newton, Sinkhorn
from monge.testing import LargestTensor


def losses(**options) -> dict[str, Loss]:
    return {
        "sinkhorn": SinkhornLoss(0.5, **options),
        "sliced": SlicedLoss(slices=6, generator=generator(), **options),
        "earth mover": EarthMoverLoss(**options),
        "chamfer": ChamferLoss(**options),
    }


EACH = pytest.mark.parametrize("name", losses())


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.softmax(draw(*shape, seed=seed + 100), -1)


def brute_chamfer(x: Tensor, y: Tensor, a: Tensor, b: Tensor, p: float) -> Tensor:
    cost = (x[..., :, None, :] - y[..., None, :, :]).norm(dim=-1) ** p
    forth = cost.masked_fill(b[..., None, :] == 0, torch.inf).amin(-1)
    back = cost.masked_fill(a[..., :, None] == 0, torch.inf).amin(-2)
    return (forth * a).sum(-1) / a.sum(-1) + (back * b).sum(-1) / b.sum(-1)


# ---------------------------------------------------------------------- what they compute


@pytest.mark.parametrize("weighted", [False, True])
def test_they_are_the_functions(weighted: bool) -> None:
    x, y = draw(3, 9, 2), draw(3, 7, 2, seed=1)
    sides = (weights(3, 9), weights(3, 7, seed=1)) if weighted else (None, None)
    tight = Newton(tol=1e-10)
    pairs = {
        "sinkhorn": (
            SinkhornLoss(0.3, cost="euclidean", rho=2.0, scale=3.0, solver=tight, reduction="none"),
            3 * monge.divergence(x, y, *sides, epsilon=0.3, cost="euclidean", rho=2.0, solver=tight),
        ),
        "sliced": (
            SlicedLoss(3.0, 10, kind="iid", scale="dimension", generator=generator(4), reduction="none"),
            monge.sliced.sliced_wasserstein(
                x, y, *sides, p=3.0, slices=10, kind="iid", scale="dimension", generator=generator(4)
            ).cost,
        ),
        "earth mover": (EarthMoverLoss(2.0, reduction="none"), monge.wasserstein(x, y, *sides) ** 2),
    }
    for name, (loss, expected) in pairs.items():
        torch.testing.assert_close(loss(x, y, *sides), expected, msg=name)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_chamfer_is_the_nearest_of_all_pairs(p: float) -> None:
    for seed in range(20):
        x, y = draw(2, 12, 3, seed=seed), draw(2, 8, 3, seed=seed + 50)
        a, b = weights(2, 12, seed=seed), weights(2, 8, seed=seed)
        a[0, :3], b[1, 2:5] = 0.0, 0.0
        found = ChamferLoss(p, reduction="none")(x, y, 2 * a, b)
        torch.testing.assert_close(found, brute_chamfer(x, y, a, b, p), rtol=1e-9, atol=1e-12)
        even = [torch.full(part.shape[:-1], 1.0, dtype=part.dtype) for part in (x, y)]
        torch.testing.assert_close(ChamferLoss(p, reduction="none")(x, y), brute_chamfer(x, y, *even, p))


def test_chamfer_of_large_clouds_builds_no_matrix() -> None:
    x, y = cloud(3000, 3).float().requires_grad_(), cloud(3000, 3, 1).float()
    with LargestTensor() as largest:
        ChamferLoss()(x, y).backward()
    assert largest.bytes < 4 * 3000 * 3000 / 2
    assert x.grad is not None
    assert x.grad.norm() > 0


def test_chamfer_is_below_twice_the_transport() -> None:
    x, y = draw(5, 10, 2), draw(5, 10, 2, seed=1)
    nearest, moved = (loss(x, y) for loss in (ChamferLoss(reduction="none"), EarthMoverLoss(2.0, reduction="none")))
    assert (nearest <= 2 * moved).all()
    # Doubling a point changes the density, which only transport sees.
    thick = torch.cat([x, x[:, :1].expand(5, 10, 2)], 1)
    assert ChamferLoss()(x, thick) == 0
    assert EarthMoverLoss(2.0)(x, thick) > 0.1


def test_closed_forms() -> None:
    """A translation by t costs |t|^p, on every slice |<t, theta>|^p, and moves every point by t."""
    x, t = cloud(15, 3), torch.tensor([0.3, -0.4, 1.2], dtype=torch.float64)
    for p in (1.0, 2.0, 3.0):
        torch.testing.assert_close(EarthMoverLoss(p)(x, x + t), t.norm() ** p)
    torch.testing.assert_close(SlicedLoss(slices=3)(x, x + t), t.square().sum() / 3)
    torch.testing.assert_close(SlicedLoss(slices=3, scale="dimension")(x, x + t), t.square().sum())
    tight = SinkhornLoss(5.0, solver=Newton(tol=1e-10))
    torch.testing.assert_close(tight(x, x + t), t.square().sum())
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(EarthMoverLoss(2.0)(x, (x + t).detach()), x)
    torch.testing.assert_close(gradient, (-2 * t / 15).expand_as(x))


@EACH
def test_equal_clouds_are_at_a_minimum(name: str) -> None:
    x = draw(2, 8, 3).requires_grad_()
    loss = SinkhornLoss(0.5, solver=Newton(tol=1e-10)) if name == "sinkhorn" else losses()[name]
    found = loss(x, x.detach())
    assert abs(found.item()) < 1e-9
    assert torch.autograd.grad(found, x)[0].abs().max() < 1e-8


# ---------------------------------------------------------------------- how they are called


@EACH
def test_weights_may_stand_before_their_clouds(name: str) -> None:
    for lead in ((), (3,)):
        x, y = draw(*lead, 9, 2), draw(*lead, 7, 2, seed=1)
        a, b = weights(*lead, 9), weights(*lead, 7, seed=1)
        expected = losses()[name](x, y, a, b)
        assert torch.equal(losses()[name](a, x, b, y), expected)
        assert torch.equal(losses()[name](x, y, b=b, a=a), expected)
        assert not torch.equal(losses()[name](x, y), expected)


def test_an_order_that_shapes_do_not_tell_is_refused() -> None:
    x, y = draw(4, 4), draw(4, 4, 4)
    a, b = torch.full((4,), 0.25, dtype=torch.float64), torch.full((4, 4), 0.25, dtype=torch.float64)
    with pytest.raises(InputError, match="expand the clouds to one batch"):
        ChamferLoss()(x, y, a, b)
    assert ChamferLoss()(x.expand(4, 4, 4), y, a, b) > 0


@EACH
def test_reductions(name: str) -> None:
    x, y = draw(2, 3, 9, 2), draw(3, 7, 2, seed=1)
    each = losses(reduction="none")[name](x, y)
    assert each.shape == (2, 3)
    torch.testing.assert_close(losses()[name](x, y), each.mean())
    torch.testing.assert_close(losses(reduction="sum")[name](x, y), each.sum())
    assert losses(reduction="none")[name](x[0, 0], y[0]).shape == ()


@EACH
def test_absent_points_change_nothing(name: str) -> None:
    x, y, a, b = draw(9, 2), draw(7, 2, seed=1), weights(9), weights(7, seed=1)
    far = torch.full((3, 2), 50.0, dtype=torch.float64, requires_grad=True)
    padded = losses()[name](torch.cat([x, far]), torch.cat([far, y]), torch.cat([a, a.new_zeros(3)]),
                            torch.cat([b.new_zeros(3), b]))  # fmt: skip
    torch.testing.assert_close(padded, losses()[name](x, y, a, b), rtol=1e-4, atol=1e-6)
    assert torch.autograd.grad(padded, far)[0].abs().max() == 0


@EACH
def test_gradients(name: str) -> None:
    x, y = draw(2, 5, 2).requires_grad_(), draw(2, 4, 2, seed=1).requires_grad_()
    a, b = weights(2, 5).requires_grad_(), weights(2, 4, seed=1).requires_grad_()

    def value(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        loss = SinkhornLoss(0.5, solver=Newton(tol=1e-12)) if name == "sinkhorn" else losses()[name]
        return loss(x, y, a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True))

    assert torch.autograd.gradcheck(value, (x, y, a, b), rtol=1e-4)


@EACH
def test_half_precision_is_computed_in_single(name: str) -> None:
    x, y = draw(2, 9, 2, dtype=torch.bfloat16).requires_grad_(), draw(2, 7, 2, seed=1, dtype=torch.bfloat16)
    wide = x.detach().float().requires_grad_()
    found, expected = losses()[name](x, y), losses()[name](wide, y.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    (narrow,), (exact,) = torch.autograd.grad(found, x), torch.autograd.grad(expected, wide)
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow, exact.bfloat16())
    # A network gives half precision, the data are single.
    assert torch.equal(losses()[name](x, y.float()), expected)


@EACH
@pytest.mark.parametrize("inside", [False, True])
def test_autocast_changes_nothing(name: str, inside: bool) -> None:
    """Three coordinates and more go through products of matrices, which autocast would round."""
    x, y = draw(2, 20, 3, dtype=torch.float32).requires_grad_(), draw(2, 20, 3, seed=1, dtype=torch.float32)
    expected = losses()[name](x, y)
    (exact,) = torch.autograd.grad(expected, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses()[name](x, y)
        if inside:
            (gradient,) = torch.autograd.grad(found, x)
    if not inside:
        (gradient,) = torch.autograd.grad(found, x)
    assert torch.equal(found, expected)
    torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-7)


def test_a_loss_of_ones_own_is_computed_in_single_precision() -> None:
    class Products(Loss):
        def _values(self, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
            return (x @ y.mT).mean((-1, -2))

    x, y = draw(5, 9, 3, dtype=torch.float32), draw(5, 7, 3, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Products("none")(x, y)
    assert torch.equal(found, Products("none")(x, y))
    assert Products()(x.bfloat16(), y).dtype == torch.float32


def test_a_step_under_autocast_lowers_the_loss() -> None:
    network, x, y = (
        torch.nn.Linear(3, 2),
        draw(64, 3, dtype=torch.float32),
        draw(64, 2, dtype=torch.float32, seed=1) + 2,
    )
    optimizer, loss = torch.optim.Adam(network.parameters(), 0.1), SinkhornLoss(0.5)
    told = []
    for _ in range(30):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(network(x), y)
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        told.append(found.item())
    assert told[-1] < told[0] / 10


# ---------------------------------------------------------------------- as modules


def test_slices_are_new_at_every_call_and_follow_the_generator() -> None:
    x, y = cloud(9, 3), cloud(7, 3, 1)
    loss, same = (SlicedLoss(slices=2, generator=generator(3)) for _ in range(2))
    first, second = loss(x, y), loss(x, y)
    assert first != second
    assert (same(x, y), same(x, y)) == (first, second)
    torch.manual_seed(0)
    third = SlicedLoss(slices=2)(x, y)
    torch.manual_seed(0)
    assert SlicedLoss(slices=2)(x, y) == third


@EACH
def test_modules_are_copied_saved_and_shown(name: str) -> None:
    loss = losses()[name]
    assert not list(loss.parameters())
    assert loss.state_dict() == {}
    assert "reduction='mean'" in repr(loss)
    x, y = draw(9, 2), draw(7, 2, seed=1)
    twin = copy.deepcopy(loss)
    assert torch.equal(twin(x, y), loss(x, y))


def test_what_they_show() -> None:
    assert repr(SlicedLoss(1.0)) == "SlicedLoss(p=1.0, slices=128, kind='orthogonal', scale=None, reduction='mean')"
    assert "epsilon=0.2" in repr(SinkhornLoss(0.2, solver=Sinkhorn()))


# What the compiler says about the code around a loss is not ours.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("unchecked_shapes")
@EACH
def test_a_compiled_step_breaks_off_and_gives_the_same(name: str) -> None:
    torch._dynamo.reset()
    x, y = draw(2, 6, 3).requires_grad_(), draw(2, 5, 3, seed=1)
    answers = []
    for compiled in (False, True):
        loss = losses()[name]

        def step(x: Tensor, y: Tensor, loss: Loss = loss) -> Tensor:
            return 2 * loss(x * 1.5, y) + x.sum()

        found = (torch.compile(step, backend="eager") if compiled else step)(x, y)
        answers.append((found.detach(), *torch.autograd.grad(found, x)))
    for plain, traced in zip(*answers, strict=True):
        assert torch.equal(plain, traced)


@pytest.mark.parametrize(("p", "reach"), [(2, None), (1, None), (2, 1.5), (1, 1.5)])
def test_the_line_for_those_who_come_from_geomloss(p: int, reach: float | None) -> None:
    geomloss = pytest.importorskip("geomloss")
    x, y, a, b = draw(2, 20, 3), draw(2, 25, 3, seed=1) + 0.5, weights(2, 20), weights(2, 25, seed=1)
    theirs = geomloss.SamplesLoss("sinkhorn", p=p, blur=0.4, reach=reach, scaling=0.995, backend="tensorized")
    if p == 2:
        rho = None if reach is None else 2 * reach**2
        ours = SinkhornLoss(epsilon=2 * 0.4**2, rho=rho, scale=0.5, reduction="none")
    else:
        ours = SinkhornLoss(epsilon=0.4, cost="euclidean", rho=reach, reduction="none")
    torch.testing.assert_close(ours(x, y), theirs(x, y), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours(a, x, b, y), theirs(a, x, b, y), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda x: ChamferLoss(reduction="max"), InputError, "reduction='max' is unknown: choose one of 'mean'"),
        (lambda x: ChamferLoss(0.5), InputError, "p must lie in"),
        (lambda x: SinkhornLoss(scale=0.0), InputError, "scale must lie in"),
        (lambda x: SinkhornLoss(0.0)(x, x), InputError, "use wasserstein"),
        (lambda x: EarthMoverLoss()(x, x, torch.ones(4).double()), InfeasibleError, "same mass"),
        (lambda x: ChamferLoss()(x, x, torch.full((4,), -1.0).double()), InputError, "a must be non-negative"),
        (lambda x: ChamferLoss()(x, x.long()), DtypeError, "y must be floating-point"),
        (lambda x: ChamferLoss()(x, x[:, :1]), InputError, "one space of one dimension"),
        (lambda x: ChamferLoss()(x, torch.full_like(x, torch.nan)), InputError, "y must hold neither NaN"),
        (lambda x: ChamferLoss()(x, x.tolist()), DtypeError, "y must be a torch.Tensor"),
    ],
)
def test_errors_say_what_to_do(call, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        call(cloud(4))

"""Geometries, marginals and problems take arrays, lists and integers, and hold tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import monge
from monge import AtMost, Fixed, Free, Linear, Relaxed, registration
from monge.errors import DtypeError, InputError, PromotionWarning
from monge.geometry import Circle, CostMatrix, Grid, Line, PointCloud, SparseCost, Sphere, Sum, Tree
from monge.problem import Referenced
from monge.registration import Rigid

X, Y = np.arange(6.0).reshape(3, 2), np.arange(4.0).reshape(2, 2) - 1
SQUARE = CostMatrix(torch.eye(2, dtype=torch.float64))


def tensors(held: object) -> list[Tensor]:
    return list(held._tensors())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda t: PointCloud(t(X), t(Y)), lambda t: PointCloud(t(X), t(Y))),
        (lambda t: CostMatrix(t(X)), lambda t: CostMatrix(t(X))),
        (lambda t: Line(t(X[:, 0]), t(Y[:, 0])), lambda t: Line(t(X[:, 0]), t(Y[:, 0]))),
        (lambda t: Circle(t(X[:, 0]), t(Y[:, 0]), circumference=9.0), None),
        (lambda t: Sphere(t([[0.0, 1.0]]), t([[1.0, 0.0]])), None),
        (lambda t: Grid((t(X[:, 0]), 3)), None),
        (lambda t: Sum((CostMatrix(t(X)), CostMatrix(t(X)))), None),
        (lambda t: Fixed(t([1.0, 2.0])), None),
        (lambda t: AtMost(t([1.0, 2.0])), None),
        (lambda t: Free(t([1.0, 2.0])), None),
        (lambda t: Relaxed(t([1.0, 2.0]), rho=t([1.0, 2.0])), None),
        (lambda t: Linear(SQUARE, t([0.5, 0.5]), t([0.25, 0.75]), epsilon=t([0.5, 1.0])), None),
        (lambda t: Referenced(Linear(SQUARE, epsilon=1.0), t([[1.0, 2.0], [3.0, 4.0]])), None),
    ],
)
def test_arrays_mean_the_same_as_tensors(made, expected) -> None:
    wanted = tensors((expected or made)(lambda held: torch.as_tensor(np.asarray(held))))
    for kind in (np.asarray, lambda held: np.asarray(held).astype(">f8")):
        found = tensors(made(kind))
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_lists_and_integers_take_the_type_of_the_others() -> None:
    assert CostMatrix([[0, 1], [2, 3]]).dtype is torch.get_default_dtype()
    assert CostMatrix(torch.eye(2).long()).dtype is torch.get_default_dtype()
    assert PointCloud(X, [[0, 1]]).y.dtype is torch.float64
    assert Grid(([0.0, 1.0], X[:, 0])).dtype is torch.float64
    assert Grid((np.int64(3), 2)).shape == (6, 6)
    problem = Linear(SQUARE, [1, 1], np.array([2, 0]), epsilon=np.float32(0.5))
    assert problem.a.dtype is problem.epsilon.dtype is torch.float64
    arcs = SparseCost([0, 1], np.array([0, 1], dtype=np.int32), [1, 2], 2, 2)
    assert arcs.i.dtype is arcs.j.dtype is torch.long
    assert float(monge.couple(arcs).transport_cost()) == 1.5
    assert Tree([0.0, 1.0], [[0, 1]], [[0, -1]]).shape == (1, 1)
    assert Relaxed([1, 2], rho=3).rho == 3


def test_tensors_pass_as_they_are() -> None:
    cost = torch.eye(2, requires_grad=True)
    assert CostMatrix(cost).cost is cost
    CostMatrix(cost * 2).cost.sum().backward()
    assert cost.grad is not None


def test_mixed_arrays_are_promoted_with_a_warning() -> None:
    with pytest.warns(PromotionWarning, match="x in float32 and y in float64") as told:
        assert PointCloud(X.astype(np.float32), Y).dtype is torch.float64
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: CostMatrix([[0.0], [1.0, 2.0]]), InputError, "cost .* one length"),
        (lambda: CostMatrix([["a"]]), DtypeError, "cost must hold real numbers"),
        (lambda: CostMatrix(np.eye(2) > 0), DtypeError, "cost must hold real numbers"),
        (lambda: Grid(([True, False], 3)), DtypeError, r"axes\[0\] must hold real numbers"),
        (lambda: Fixed(np.array([1.0, np.nan])), InputError, "weights"),
        (lambda: Fixed(np.ma.masked_array([1.0, 2.0], [True, False])), InputError, "masked"),
        (lambda: SparseCost([0.5], [0], [1.0], 1, 1), DtypeError, "i must hold whole numbers"),
        (lambda: CostMatrix("cost"), DtypeError, "torch.Tensor"),
        (lambda: CostMatrix(None), DtypeError, "torch.Tensor"),  # type: ignore[arg-type]
    ],
)
def test_errors_say_what_to_do(call, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        call()


def test_motions_give_the_kind_of_the_points_back() -> None:
    motion = Rigid(torch.eye(2), torch.ones(2), torch.tensor(2.0))
    assert isinstance(motion, registration.Transformation)
    moved = motion(X)
    assert isinstance(moved, np.ndarray)
    assert moved.dtype == np.float64
    np.testing.assert_array_equal(moved, 2 * X + 1)
    assert torch.equal(motion([[1, 2]]), torch.tensor([[3.0, 5.0]]))
    assert motion(torch.ones(1, 2).double()).dtype is torch.float64

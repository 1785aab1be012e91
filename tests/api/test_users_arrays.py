"""Arrays as users have them, at every public function: equal values, and answers in the caller's kind."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import monge
from monge import registration, sliced
from monge._value import Value
from monge.coupling import TransportMap
from monge.errors import DeviceError, DtypeError, InputError, PrecisionWarning, PromotionWarning, ShapeError
from monge.geometry import CostMatrix, Grid
from monge.sliced import LinearSlicer

DRAWN = np.random.default_rng(0)
# Whole numbers, so that integers and every float type mean the same clouds.
X, Y = (DRAWN.integers(-9, 10, (n, 2)) for n in (7, 6))
A, B = DRAWN.integers(1, 5, 7), DRAWN.integers(1, 5, 6)
A, B = A * B.sum(), B * A.sum()
THETA = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
SLICER = LinearSlicer(THETA)
FOUR = Grid((2, 2))


# A call for each function, of data that are all converted in the same way.
CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "wasserstein": (monge.wasserstein, (X, Y, A, B)),
    "wasserstein on a grid": (lambda a, b: monge.wasserstein(FOUR, a=a, b=b), (A[:4], A[3::-1].copy())),
    "divergence": (lambda *given: monge.divergence(*given, epsilon=9.0), (X, Y, A, B)),
    "divergence on a grid": (lambda a, b: monge.divergence(FOUR, a=a, b=b), (A[:4], A[3::-1].copy())),
    "pairwise": (lambda x, y: monge.pairwise([x, y]), (X, Y)),
    "pairwise with weights": (lambda x, y, a, b: monge.pairwise([(x, a), (y, b)]), (X, Y, A, B)),
    "pairwise of two lists": (lambda x, y: monge.pairwise((x, y), [y, x]), (X, Y)),
    "pairwise of a batch": (monge.pairwise, (np.stack([X, X + 1]),)),
    "barycenter": (lambda x, y: monge.barycenter([x, y]), (X, Y)),
    "barycenter, weighted": (lambda w, x, y: monge.barycenter([x, y], w), (np.array([1, 2]), X, Y)),
    "barycenter_on": (lambda h: monge.barycenter_on(Grid((3,)), h, epsilon=0.7), (np.array([[1, 0, 2], [2, 1, 0]]),)),
    "map": (lambda new: monge.couple(torch.tensor(X).double(), torch.tensor(Y).double()).map(new), (X + 1,)),
    "TransportMap": (lambda x: TransportMap(monge.couple(torch.tensor(X).double(), torch.tensor(Y).double()))(x), (X,)),
    "sliced_wasserstein": (lambda *g: sliced.sliced_wasserstein(*g, theta=THETA), (X, Y, A, B)),
    "estimate": (lambda *g: sliced.estimate(*g, slicer=SLICER), (X, Y, A, B)),
    "unbalanced": (lambda *g: sliced.unbalanced_sliced_wasserstein(*g, slicer=SLICER, rho=1.0), (X, Y)),
    "partial": (lambda *g: sliced.sliced_partial_wasserstein(*g, penalty=3.0, theta=THETA), (X, Y)),
    "partial_cost": (lambda *g: sliced.partial_cost(*g, penalty=1.0), (X[:, 0], Y[:, 0])),
    "pairwise_sliced": (lambda x, y: sliced.pairwise_sliced_wasserstein([x, y], theta=THETA), (X, Y)),
    "sliced_embedding": (lambda x: sliced.sliced_embedding(x, theta=THETA), (X,)),
    "circular": (lambda x, y: sliced.circular_wasserstein(x, y, circumference=40.0), (X[:, 0], Y[:, 0])),
    "energy": (lambda *g: sliced.energy_based_sliced_wasserstein(*g, slicer=SLICER), (X, Y)),
    "search_direction": (
        lambda *g: sliced.search_direction(*g, steps=2, generator=torch.Generator().manual_seed(0)),
        (X, Y),
    ),
    "max_sliced": (
        lambda *g: sliced.max_sliced_wasserstein(*g, steps=2, generator=torch.Generator().manual_seed(0)),
        (X, Y),
    ),
    "soft_sort": (lambda x: sliced.plan.soft_sort(x, 0.5), (X[:, 0],)),
}


def answers(held: Any) -> Iterator[Any]:
    """Every array of an answer, of whatever kind, in order; plans hold tensors and are left out."""
    if isinstance(held, (Tensor, np.ndarray, np.generic)):
        yield held
    elif isinstance(held, tuple):
        for one in held:
            yield from answers(one)
    elif isinstance(held, Value) and not isinstance(held, monge.Coupling):
        assert is_dataclass(held)
        for one in fields(held):
            yield from answers(getattr(held, one.name))


def nested(array: np.ndarray, kind: type) -> Any:
    return kind(nested(row, kind) if row.ndim else row.item() for row in array)


def check_same(found: Any, expected: Any, tolerance: float) -> None:
    pairs = list(zip(answers(found), answers(expected), strict=True))
    assert pairs
    for one, other in pairs:
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=tolerance, atol=tolerance)


KINDS: dict[str, tuple[Callable[[np.ndarray], Any], type, str]] = {
    "float64": (lambda x: x.astype(np.float64), np.ndarray, "float64"),
    "float32": (lambda x: x.astype(np.float32), np.ndarray, "float32"),
    "integers": (lambda x: x, np.ndarray, "float32"),
    "small integers": (lambda x: x.astype(np.int16), np.ndarray, "float32"),
    "frozen": (lambda x: np.frombuffer(x.astype(np.float64).tobytes()).reshape(x.shape), np.ndarray, "float64"),
    "backwards": (lambda x: x[::-1].astype(np.float64)[::-1], np.ndarray, "float64"),
    "big-endian": (lambda x: x.astype(">f8"), np.ndarray, "float64"),
    "Fortran": (lambda x: np.asfortranarray(x.astype(np.float64)), np.ndarray, "float64"),
    "list": (lambda x: nested(x, list), Tensor, "float32"),
    "list of arrays": (lambda x: list(x.astype(np.float64)), Tensor, "float64"),
    "list of tensors": (lambda x: list(torch.tensor(x).double()), Tensor, "float64"),
    "whole tensors": (torch.tensor, Tensor, "float32"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CALLS)
def test_every_kind_has_the_same_answer(name: str, kind: str) -> None:
    function, data = CALLS[name]
    expected = function(*(torch.tensor(one).double() for one in data))
    convert, given, dtype = KINDS[kind]
    if name == "pairwise of a batch" and "list" in kind:
        pytest.skip("a list of lists is a list of clouds")
    with warnings.catch_warnings():
        # A plan of float64 meets points of float32.
        warnings.simplefilter("ignore" if "ap" in name and kind == "float32" else "error", PromotionWarning)
        found = function(*(convert(one) for one in data))
    check_same(found, expected, 2e-3)
    kinds = (np.ndarray, np.generic) if given is np.ndarray else (Tensor,)
    dtypes = {str(one.dtype).removeprefix("torch.") for one in answers(found)}
    assert all(isinstance(one, kinds) for one in answers(found))
    assert name in ("map", "TransportMap", "search_direction") or dtype in dtypes


@pytest.mark.parametrize("name", [name for name, (_, data) in CALLS.items() if len(data) > 1])
def test_mixed_types_are_promoted_with_one_warning(name: str) -> None:
    function, (first, *others) = CALLS[name]
    exact = [torch.tensor(one).double() for one in (first, *others)]
    with pytest.warns(PromotionWarning, match=r"in float32.*in float64") as told:
        found = function(exact[0].float(), *exact[1:])
    assert len([one for one in told if issubclass(one.category, PromotionWarning)]) == 1
    assert told[0].filename == __file__
    check_same(found, function(*exact), 1e-12)
    assert torch.float64 in {one.dtype for one in answers(found)}
    # A tensor among the arguments: tensors come back.
    assert all(isinstance(one, Tensor) for one in answers(function(exact[0], *(one.numpy() for one in exact[1:]))))


def test_integers_and_lists_follow_the_floats() -> None:
    x, y = X.astype(np.float64) / 3, Y.astype(np.float64)
    expected = monge.wasserstein(x, y)
    assert monge.wasserstein(x, Y) == expected
    assert monge.wasserstein(x.tolist(), y) == expected
    assert monge.wasserstein(torch.tensor(x), Y.tolist()).dtype == torch.float64


def test_memory_is_shared_where_it_can_be() -> None:
    x = X.astype(np.float64)
    assert monge.couple(x, Y.astype(np.float64)).geometry.x.data_ptr() == x.ctypes.data
    frozen = x.copy()
    frozen.flags.writeable = False
    assert monge.couple(frozen, frozen).geometry.x.data_ptr() != frozen.ctypes.data


def test_plans_hold_tensors_and_take_tensors() -> None:
    x, y = X.astype(np.float64), Y.astype(np.float64)
    P = monge.couple(x, y, epsilon=5.0)
    assert all(isinstance(held, Tensor) for held in P._tensors())
    assert isinstance(P.barycentric(torch.from_numpy(y)), Tensor)


def test_half_precision_keeps_its_weights() -> None:
    x, y = torch.tensor(X).bfloat16(), torch.tensor(Y).bfloat16()
    a = torch.full((7,), 1 / 7)
    assert monge.wasserstein(x, y, a).dtype == torch.bfloat16
    with pytest.warns(PromotionWarning, match="bfloat16"):
        assert monge.wasserstein(x, y.float()).dtype == torch.float32


def test_gradients_pass_through_promotion_and_lists() -> None:
    x, y = torch.tensor(X).float().requires_grad_(), torch.tensor(Y).double()
    with pytest.warns(PromotionWarning):
        (mixed,) = torch.autograd.grad(monge.divergence(x, y, epsilon=5.0), x)
    (listed,) = torch.autograd.grad(monge.divergence(list(x.double()), y, epsilon=5.0), x)
    (plain,) = torch.autograd.grad(monge.divergence(x.double(), y, epsilon=5.0), x)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain)
    torch.testing.assert_close(listed, plain)
    # NumPy beside what is differentiated: the answer stays in the graph.
    assert monge.divergence(x.double(), Y.astype(float), epsilon=5.0).requires_grad


def test_numbers_of_numpy_are_numbers() -> None:
    x, y = X.astype(np.float64), Y.astype(np.float64)
    assert monge.wasserstein(x, y, p=np.int64(2)) == monge.wasserstein(x, y)
    one = monge.couple(x, y, epsilon=np.float32(0.5), rho=np.float64(2)).mass
    assert one == monge.couple(x, y, epsilon=0.5, rho=2.0).mass
    each = monge.divergence(np.stack([x, x]), y, epsilon=np.array([1.0, 2.0]))
    assert each[1] == pytest.approx(float(monge.divergence(x, y, epsilon=2.0)), rel=1e-6)


class Framed:
    """What speaks NumPy's protocol, as frames and series of pandas and polars do."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


class Lent:
    """What speaks DLPack, as arrays of JAX and CuPy do."""

    def __init__(self, array: np.ndarray) -> None:
        self.tensor = torch.from_numpy(array)

    def __dlpack__(self, **settings: Any) -> Any:
        return self.tensor.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()


def test_protocols_of_others() -> None:
    x, y = X.astype(np.float64), Y.astype(np.float64)
    assert isinstance(monge.wasserstein(Framed(x), Framed(y)), np.float64)
    assert isinstance(monge.wasserstein(Lent(x), Lent(y)), Tensor)


def test_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["u", "v"]).astype(float)
    assert monge.wasserstein(frame, frame, frame.u.abs() + 1, frame.u.abs() + 1) == 0
    with pytest.raises(DtypeError, match="x must hold real numbers"):
        monge.wasserstein(frame.astype(object), frame)


BAD = {
    "complex": (X + 1j, DtypeError, "real and imaginary parts"),
    "objects": (X.astype(object), DtypeError, r"numpy\.asarray\(x, dtype='float64'\)"),
    "words": ([["a", "b"]], DtypeError, "x must hold real numbers"),
    "truth": (X > 0, DtypeError, "x must hold real numbers"),
    "truth in a tensor": (torch.tensor(X) > 0, DtypeError, "floating-point"),
    "time": (X.astype("datetime64[s]"), DtypeError, "x must hold real numbers"),
    "ragged": ([[1, 2], [3]], InputError, "one length"),
    "tensors": ([torch.zeros(2), torch.zeros(3)], ShapeError, "do not make one tensor"),
    "masked": (np.ma.masked_less(X, 0), InputError, "are masked"),
    "not a number": (np.full((3, 2), np.nan), InputError, "neither NaN nor inf"),
    "a number": (3.0, DtypeError, "torch.Tensor"),
    "a word": ("x", DtypeError, "torch.Tensor"),
    "nothing": (None, TypeError, "torch.Tensor"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_array_of_numbers(name: str) -> None:
    bad, error, told = BAD[name]
    for function in (monge.wasserstein, monge.divergence, monge.couple, sliced.sliced_wasserstein):
        with pytest.raises(error, match=told):
            function(bad, Y.astype(float))
    if name not in ("nothing", "a number", "a word", "ragged"):
        with pytest.raises(error, match=r"measures\[1\]|floating-point|one tensor|real and imaginary|numpy.asarray"):
            monge.pairwise([Y.astype(float), bad])


def test_nothing_masked_is_an_array() -> None:
    assert monge.wasserstein(np.ma.array(X.astype(float)), X.astype(float)) == 0


def test_long_doubles_are_refused() -> None:
    if np.longdouble == np.float64:
        pytest.skip("a long double is a double here")
    with pytest.raises(DtypeError, match="astype"):
        monge.wasserstein(X.astype(np.longdouble), Y)


def test_integers_that_are_rounded_are_told() -> None:
    with pytest.warns(PrecisionWarning, match="pass it as float64") as told:
        monge.wasserstein(2**24 + 2 * X + 1, Y)
    assert told[0].filename == __file__
    monge.wasserstein(2**24 + 2 * X + 1, Y.astype(np.float64))


def test_arrays_stay_in_main_memory() -> None:
    with pytest.raises(DeviceError, match=r"x lives on meta, but y is a NumPy array.*device='meta'"):
        monge.wasserstein(torch.zeros(3, 2, device="meta"), Y.astype(np.float32))


# ---------------------------------------------------------------------- pictures


@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (2, 5, 3, 8, 8), (1, 1, 4, 4)])
def test_pictures_are_not_clouds(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    for given in (x, x.numpy()):
        for function in (monge.couple, monge.wasserstein, monge.divergence, sliced.sliced_wasserstein):
            with pytest.raises(ShapeError, match=r"looks like pictures.*Grid\(\(\d, \d\)\).*flatten\(0, -3\)"):
                function(given, given)
    assert monge.wasserstein(x.flatten(0, -3), x.flatten(0, -3)).shape == (math.prod(shape[:-2]),)


@pytest.mark.parametrize("shape", [(5, 2, 8, 8), (5, 1, 8, 7), (5, 1, 3, 3)])
def test_clouds_are_not_pictures(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    assert monge.wasserstein(x, x).shape == shape[:-2]


def test_clouds_that_broadcast_are_not_pictures() -> None:
    x, y = torch.rand(2, 4, 4), torch.rand(5, 4, 4)
    assert monge.wasserstein(x[:, None], y[None]).shape == (2, 5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_pictures_are_weights_on_a_grid(dtype: Any) -> None:
    first = DRAWN.integers(0, 9, (3, 4, 5)).astype(dtype)
    second = first[:, ::-1, ::-1]
    grid = Grid((4, 5))
    flat = [torch.tensor(one.reshape(3, 20).astype(np.float64)) for one in (first, second.copy())]
    wide = Grid((torch.arange(4.0).double(), torch.arange(5.0).double()))
    expected = monge.solve(monge.Linear(wide, *flat)).value
    found = monge.wasserstein(grid, a=first, b=second)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected.sqrt().numpy(), rtol=1e-5)
    P = monge.couple(grid, a=first, b=second)
    np.testing.assert_allclose(P.transport_cost().numpy(), expected.numpy(), rtol=1e-5)
    own = monge.divergence(grid, a=first, b=first, epsilon=1.0)
    np.testing.assert_allclose(own, 0, atol=1e-3)
    assert (monge.divergence(grid, a=first, b=second, epsilon=1.0) > 0.1).all()


def test_a_grid_of_one_row_keeps_its_batch() -> None:
    assert monge.couple(Grid((1, 4)), a=torch.ones(1, 4), b=torch.ones(4)).shape == (1, 4, 4)


def test_histograms_on_a_geometry() -> None:
    bins = torch.arange(5.0)
    a, b = torch.tensor([1.0, 0, 0, 0, 0]), torch.tensor([0, 0, 0, 1.0, 0])
    for p in (1.0, 2.0, 3.0):
        line = monge.geometry.Line(bins, bins, p)
        assert float(monge.wasserstein(line, a=a, b=b, p=p)) == pytest.approx(3.0)
        matrix = CostMatrix((bins[:, None] - bins).abs() ** p)
        assert float(monge.wasserstein(matrix, a=a, b=b, p=p)) == pytest.approx(3.0)
    clouds = monge.geometry.PointCloud(bins[:, None], bins[:, None])
    torch.testing.assert_close(monge.divergence(clouds, a=a, b=b), monge.divergence(bins[:, None], bins[:, None], a, b))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda a: monge.wasserstein(Grid((4,), p=1.0), a=a), "pass p=1"),
        (lambda a: monge.wasserstein(Grid((4,)), a=a, p=1.0), "pass p=2"),
        (lambda a: monge.wasserstein(CostMatrix(-torch.eye(4)), a=a), "powers of distances"),
        (lambda a: monge.wasserstein(torch.ones(4, 2)), "y must be given"),
        (lambda a: monge.wasserstein(Grid((2, 2)), a=torch.ones(4, 1)), "one weight per point"),
        (lambda a: monge.divergence(CostMatrix(torch.eye(4).roll(1, 0)), a=a), "symmetric"),
        (lambda a: monge.divergence(torch.ones(4, 2)), "y must be given"),
    ],
)
def test_geometries_that_do_not_fit(call: Callable[[Tensor], Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        call(torch.ones(4) / 4)


def test_the_divergence_has_one_price() -> None:
    x, y = torch.rand(4, 2), torch.rand(5, 2)
    expected = monge.divergence(x, y, rho=2.0)
    assert monge.divergence(x, y, rho=(2.0, 2.0)) == expected
    assert monge.divergence(x, y, rho=math.inf) == monge.divergence(x, y)
    with pytest.raises(InputError, match="one price for both sides"):
        monge.divergence(x, y, rho=(1.0, 2.0))


# ---------------------------------------------------------------------- every function


def test_every_public_function_of_arrays_takes_them() -> None:
    """What is annotated with tensors passes through the one door; classes and plans hold tensors."""
    rooms = (monge, sliced, sliced.plan, sliced.partial, sliced.sphere, sliced.gromov, registration)
    left_out = set()
    # It takes them by itself, so that integers stay exact.
    converts = {"linear_assignment"}
    for room in rooms:
        for name in room.__all__:
            thing = getattr(room, name)
            if not inspect.isfunction(thing):
                continue
            parameters = list(inspect.signature(thing).parameters.values())
            takes = any("Tensor" in str(one.annotation) and one.kind is not one.KEYWORD_ONLY for one in parameters)
            door = thing.__code__.co_filename.endswith("_users_arrays.py")
            if takes and not door and name not in converts:
                left_out.add(f"{room.__name__}.{name}")
    assert not left_out

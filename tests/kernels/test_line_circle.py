"""Distances on the line and the circle against linear programs, and the native loops against the definition."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from monge.kernels import circle_distance, line_distance, linear_circle_distance
from monge.kernels.line import row_problem
from monge.kernels.line.circle import reference as circle_reference
from monge.kernels.line.straight import reference as line_reference

ORDERS = (1.0, 1.5, 2.0, 3.0)


def linear_program(cost, a, b):
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    equal = np.vstack([rows, columns])[:-1]
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    return linprog(cost.ravel(), A_eq=equal, b_eq=np.r_[a, b][:-1], bounds=(0, None), options=tight).fun


def instance(rng, family):
    """Small clouds of the kinds that have broken such codes before."""
    n, m = rng.integers(1, 8, 2)
    x, y = rng.random(n), rng.random(m)
    a, b = rng.random(n), rng.random(m)
    if family == "integer":
        x, y = rng.integers(0, 12, n) / 12, rng.integers(0, 12, m) / 12
        a, b = rng.integers(1, 4, n).astype(float), rng.integers(1, 4, m).astype(float)
    elif family == "separated":
        x, y = x / 2, 0.5 + y / 2
    elif family == "heavy":
        a[rng.integers(n)] = 100
    elif family == "absent" and n > 1:
        a[rng.integers(n)] = 0
    elif family == "arc":
        x, y = (0.98 + 0.04 * x) % 1, (0.98 + 0.04 * y) % 1
    elif family == "wrap":
        x[rng.integers(n)], y[rng.integers(m)] = 0.0, rng.choice([0.0, 1.0 - 2**-53, 2.0**-60])
    elif family == "rounded":  # sums that are one only up to the last digits
        a, b = (np.round(w / w.sum(), 3) + 1e-3 for w in (a, b))
    elif family == "single":
        x, a = x[:1], a[:1]
    elif family == "uniform":
        m = n
        y, a, b = rng.random(m), np.ones(n), np.ones(m)
    return x, y, a / a.sum(), b / b.sum()


FAMILIES = (
    "random", "integer", "separated", "heavy", "absent", "arc", "wrap", "rounded", "single", "uniform",
)  # fmt: skip


def agree(family, circle, count, seed):
    """Value and potentials against a linear program, ``count`` instances for every order."""
    rng = np.random.default_rng([FAMILIES.index(family), seed])
    distance = circle_distance if circle else line_distance
    for p in itertools.chain(*([order] * count for order in ORDERS)):
        x, y, a, b = instance(rng, family)
        gap = np.abs(x[:, None] - y)
        cost = (np.minimum(gap, 1 - gap) if circle else gap) ** p
        weights = [torch.tensor(w, requires_grad=True) for w in (a, b)]
        value = distance(torch.tensor(x), torch.tensor(y), *weights, p=p)
        expected = linear_program(cost, a, b)
        assert abs(value.item() - expected) < 1e-9
        f, g = torch.autograd.grad(value, weights)
        # Weights are scaled to mass one, so their slopes are centred potentials: with the value added, a certificate.
        assert abs(a @ f.numpy()) + abs(b @ g.numpy()) < 1e-9
        assert (f.numpy()[:, None] + g.numpy() + expected - cost).max() < 1e-9


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("circle", [False, True])
def test_values_and_potentials_agree_with_linear_programs(family, circle):
    agree(family, circle, 12, 0)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("circle", [False, True])
def test_thousands_of_linear_programs(family, circle):
    agree(family, circle, 100, 1)


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("distance", "reference"),
    [
        (line_distance, line_reference.line_distance),
        (circle_distance, circle_reference.circle_distance),
        (linear_circle_distance, circle_reference.linear_circle_distance),
    ],
)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (63, 63), (100, 37)])
def test_native_equals_the_definition(distance, reference, p, weighted, n, m):
    generator = torch.Generator().manual_seed(n + m)
    x, y = (torch.rand(4, k, generator=generator, dtype=torch.float64) for k in (n, m))
    a, b = (torch.rand(4, k, generator=generator, dtype=torch.float64) if weighted else None for k in (n, m))
    inputs = [t.requires_grad_() for t in (x, y, a, b) if t is not None]
    value = distance(x, y, a, b, p=p)
    expected = reference(row_problem(x, y, a, b), p)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    upstream = torch.rand(4, generator=generator, dtype=torch.float64)
    slopes = torch.autograd.grad(value, inputs, upstream)
    plain = torch.autograd.grad(expected, inputs, upstream)
    for slope, other in zip(slopes, plain, strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-6, atol=1e-8)


def test_gradients_of_positions_and_weights_by_finite_differences():
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.rand(2, k, generator=generator, dtype=torch.float64, requires_grad=True) for k in (5, 4))
    a, b = (torch.rand(2, k, generator=generator, dtype=torch.float64, requires_grad=True) for k in (5, 4))

    for distance, p in itertools.product((line_distance, circle_distance, linear_circle_distance), (1.5, 2.0, 3.0)):
        assert torch.autograd.gradcheck(partial(distance, p=p), (x, y, a, b))


def test_golden_values():
    x, y = (torch.tensor(v, dtype=torch.float64) for v in ([0.2, 0.5, 0.8], [0.4, 0.5, 0.7]))
    assert circle_distance(x, y, p=1.0).item() == pytest.approx(0.1)
    assert circle_distance(x, y).item() == pytest.approx(1 / 60)
    assert linear_circle_distance(x, y).item() == pytest.approx(0.08 / 3)
    x, y, a, b = (
        torch.tensor(v, dtype=torch.float64) for v in ([0.1, 0.4, 0.8], [0.2, 0.5], [0.7, 0.2, 0.1], [0.3, 0.7])
    )
    assert circle_distance(x, y, a, b, p=1.0).item() == pytest.approx(0.24)
    assert circle_distance(x, y, a, b).item() == pytest.approx(0.078)
    assert linear_circle_distance(x, y, a, b).item() == pytest.approx(0.078)


def test_linear_circular_distance_is_never_below_the_exact_one():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(500, 9, generator=generator), torch.rand(500, 6, generator=generator)
    assert (linear_circle_distance(x, y) >= circle_distance(x, y) - 1e-6).all()


def test_common_rotation_changes_nothing():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(50, 8, generator=generator).double(), torch.rand(50, 11, generator=generator).double()
    turn = torch.rand(50, 1, generator=generator).double()
    for distance in (circle_distance, linear_circle_distance):
        torch.testing.assert_close(distance(x + turn, y + turn), distance(x, y), rtol=0, atol=1e-12)


def test_float32_weights_do_not_lose_mass_at_large_n():
    n = 100_000
    x = torch.arange(n, dtype=torch.float32) / n
    weights = torch.full((n,), 1.0 / n)
    value = line_distance(x, x + 0.25, weights, weights, p=2.0)
    assert value.item() == pytest.approx(0.0625, rel=1e-4)


def test_splitting_an_atom_and_zero_weights_change_nothing():
    x = torch.tensor([[0.1, 0.7, 0.7]], dtype=torch.float64)
    y = torch.tensor([[0.3, 0.9]], dtype=torch.float64)
    split = line_distance(x, y, torch.tensor([0.5, 0.2, 0.3]), None, p=2.0)
    whole = line_distance(x[:, :2], y, torch.tensor([0.5, 0.5]), None, p=2.0)
    absent = line_distance(
        torch.tensor([[0.1, 55.0, 0.7]], dtype=torch.float64), y, torch.tensor([0.5, 0.0, 0.5]), None
    )
    torch.testing.assert_close(split, whole)
    torch.testing.assert_close(absent, whole)


@pytest.mark.parametrize("distance", [line_distance, circle_distance, linear_circle_distance])
def test_rounding_leaves_nothing_for_atoms_without_mass(distance):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(200, n, generator=generator, dtype=torch.float64) for n in (7, 5))
    a, b = (torch.rand(200, n, generator=generator, dtype=torch.float64) for n in (7, 5))
    far = 1e12 if distance is line_distance else 1 - 1e-9
    padded = torch.cat([x, torch.full((200, 2), far, dtype=torch.float64)], -1).requires_grad_()
    absent = torch.cat([a, torch.zeros(200, 2, dtype=torch.float64)], -1)
    for first, second in ((padded, y), (y, padded)):
        weights = (absent, b) if first is padded else (b, absent)
        value = distance(first, second, *weights)
        plain = distance(x, y, a, b) if first is padded else distance(y, x, b, a)
        torch.testing.assert_close(value, plain, rtol=1e-12, atol=1e-15)
        (slope,) = torch.autograd.grad(value.sum(), padded)
        assert (slope[:, 7:] == 0).all()
    reference = line_reference if distance is line_distance else circle_reference
    definition = getattr(reference, distance.__name__)
    torch.testing.assert_close(definition(row_problem(padded, y, absent, b), 2.0), distance(padded, y, absent, b))


def test_compiled_graph_sees_one_operator():
    x, y = torch.rand(3, 7), torch.rand(3, 7)
    torch.library.opcheck(
        torch.ops.monge.line_distance, (x, y, None, None, 2.0, True, True), test_utils="test_faketensor"
    )

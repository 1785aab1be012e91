from __future__ import annotations

import math

import pytest
import torch
from dense import assert_answers, questions, smooth_answers
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.errors import InputError, ShapeError
from monge.geometry import Circle, Line


def numbers(n: int, *batch: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*batch, n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3.0])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (9, 6)])
def test_line(p, n, m):
    x, y = numbers(n), numbers(m, seed=1)
    assert_answers(Line(x, y, p), (x[:, None] - y).abs() ** p, tolerance=1e-9)


def test_line_batches():
    x, y = numbers(5, 2, 1), numbers(4, 3, seed=1)
    assert_answers(Line(x, y), (x[..., None] - y[..., None, :]) ** 2, tolerance=1e-9)


def test_columns_are_unpacked_together():
    x, y = numbers(5), numbers(4, seed=1)
    torch.testing.assert_close(Line(x[:, None], y[:, None]).dense(), Line(x, y).dense())
    # One point a problem: only one side looks like a column.
    assert Line(x[:, None], y.expand(5, 4)).dense().shape == (5, 1, 4)
    with pytest.raises(ShapeError, match="write both in one way"):
        Line(x, y[:, None])


def brute(x: torch.Tensor, y: torch.Tensor, p: float, length: float) -> torch.Tensor:
    turns = torch.arange(-40, 41, dtype=x.dtype) * length
    return (x[..., :, None, None] - y[..., None, :, None] + turns).abs().amin(-1) ** p


@pytest.mark.parametrize("p", [1, 1.5, 2, 3.0])
@pytest.mark.parametrize("length", [1.0, 2 * math.pi, 0.3])
def test_circle_is_the_nearest_turn(p, length):
    x, y = numbers(9, scale=2.0), numbers(6, seed=1, scale=2.0)
    assert_answers(Circle(x, y, p, length), brute(x, y, p, length), tolerance=1e-9)


def test_circle_batches():
    x, y = numbers(5, 2, 1), numbers(4, 3, seed=1)
    assert_answers(Circle(x, y), brute(x, y, 2, 1.0), tolerance=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=6), st.integers(-50, 50), st.integers(1, 12))
def test_circle_of_whole_numbers_is_exact(x, y, length):
    found = Circle(torch.tensor(x, dtype=torch.float64), torch.tensor([float(y)]).double(), 1, float(length)).dense()
    wanted = [min((s - y) % length, (y - s) % length) for s in x]
    assert found[:, 0].tolist() == wanted


def test_wrapping_is_exact():
    length = 2 * math.pi
    zero = torch.zeros(1, dtype=torch.float64)
    assert Circle(zero, zero + length, 1, length).dense() == 0
    # Half a turn apart in both directions.
    torch.testing.assert_close(Circle(zero, zero + 0.5, 1).dense(), torch.tensor([[0.5]]).double(), rtol=0, atol=0)
    just = Circle(zero + 0.999, zero + 0.001, 1).dense()
    torch.testing.assert_close(just.item(), 0.002, rtol=1e-12, atol=0)


@pytest.mark.parametrize("build", [Line, Circle])
@pytest.mark.parametrize("p", [1, 2.0, 2.5])
def test_first_and_second_derivatives(build, p):
    x, y = numbers(4), numbers(3, seed=1)
    ask = questions((), 4, 3)

    def total(x, y, g):
        return smooth_answers(build(x, y, p), {**ask, "g": g})

    tensors = [t.requires_grad_() for t in (x, y, ask["g"])]
    assert torch.autograd.gradcheck(total, tensors)
    assert torch.autograd.gradgradcheck(total, tensors, fast_mode=True)


def test_float32():
    x, y = numbers(9).float(), numbers(6, seed=1).float()
    assert_answers(Line(x, y), (x[:, None] - y) ** 2, tolerance=2e-5)
    assert_answers(Circle(x, y), brute(x, y, 2, 1.0), tolerance=2e-5)


def test_one_problem_of_a_batch():
    x, y = numbers(5, 3), numbers(4, seed=1)
    for geometry in (Line(x, y), Circle(x, y)):
        torch.testing.assert_close(geometry[1].dense(), geometry.dense()[1])
        torch.testing.assert_close(geometry[1:].T.dense(), geometry.T.dense()[1:])


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (Line, (torch.zeros(3), torch.zeros(4), 0.5), r"p must lie in \[1"),
        (Line, (torch.zeros(3), torch.zeros(4), math.inf), "p must lie in"),
        (Line, (torch.zeros(3), torch.zeros(0)), "at least one point"),
        (Line, (torch.tensor(0.0), torch.zeros(3)), "at least one point"),
        (Line, (torch.zeros(2, 3), torch.zeros(3, 4)), "batch dimensions of x and y"),
        (Line, (torch.zeros(3).bool(), torch.zeros(3)), r"x.float\(\)"),
        (Line, (torch.tensor([math.nan]), torch.zeros(3)), "NaN"),
        (Line, (torch.zeros(3), torch.zeros(3).double()), "share one dtype"),
        (Circle, (torch.zeros(3), torch.zeros(4), 2, 0.0), r"circumference must lie in \(0"),
        (Circle, (torch.zeros(3), torch.zeros(4), 2, "1"), "circumference must be a number"),
    ],
)
def test_errors_say_what_to_do(build, arguments, message):
    with pytest.raises(InputError, match=message):
        build(*arguments)

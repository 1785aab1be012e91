"""The test suite of costs: a geometry must answer every question as its matrix does."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge.geometry import Geometry

from ._cost_questions import cost_questions, finite
from ._question import (
    along,
    check_copies,
    check_question,
    chosen,
    compare,
    difference,
    fresh,
    tolerance_of,
    ways_of,
    weighted,
)

__all__ = ["check_geometry"]


def check_geometry(
    geometry: Geometry,
    dense: Float[Tensor, "*b n m"] | None = None,
    *,
    epsilon: float | Float[Tensor, "*b"] = 0.7,
    smooth: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Ask a geometry every question, and compare answers and gradients with those of its matrix.

    The questions are blocks, transposes, soft and hard minima, products with plans, entries, means, sums, copies, and
    the problems of a batch one by one. Run it on every cost that you write: on batches, on a single row, with forbidden
    pairs, in both precisions.

    Args:
        geometry: The cost.
        dense: The matrix that it should be. By default ``geometry.dense()``, which cannot find an error that all of
            its methods share; pass the matrix for at least one small example.
        epsilon: A number, or one for each problem of the batch.
        smooth: Whether the costs have derivatives by the tensors of the geometry; in float64 they are compared with
            differences.
        rtol: Relative tolerance; by default 1e-8 in float64 and 1e-3 in float32.
        atol: Absolute tolerance, in units of the largest cost if that is above one; by default 1e-10 and 1e-5.

    Raises:
        AssertionError: If an answer is wrong; the message names the question.

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> from monge.testing import check_geometry
        >>> x, y = torch.rand(4, 2), torch.rand(3, 2)
        >>> check_geometry(PointCloud(x, y), (x[:, None] - y).square().sum(-1))
    """
    geometry = geometry.detach()
    tolerance = tolerance_of(geometry.dtype, rtol, atol)
    matrix = geometry.dense() if dense is None else dense.detach()
    finite = matrix[matrix < math.inf]
    tolerance["atol"] *= max(1.0, float(finite.abs().max())) if finite.numel() else 1.0
    assert not matrix.isnan().any(), "A cost must be a number or +inf, never NaN."
    assert (matrix > -math.inf).all(), "A cost must not be -inf: +inf forbids a pair."
    compare("geometry.dense()", geometry.dense(), matrix, tolerance)
    assert geometry.device == matrix.device, "geometry.dense() must live where the geometry does."
    assert torch.equal(geometry.dense(), geometry.dense()), "geometry.dense() must be the same every time."
    check_copies("geometry", geometry, matrix, tolerance)
    for question in cost_questions(matrix.shape, matrix, epsilon, torch.Generator().manual_seed(0)):
        check_question(question, geometry, Geometry.dense, dense, tolerance)
    factors = geometry.factors()
    if factors is not None:
        compare("The product of geometry.factors()", factors[0] @ factors[1].mT, matrix, tolerance)
    for index, some, wanted in chosen(geometry, matrix):
        compare(f"geometry[{index}]", some.dense(), wanted, tolerance)
    if smooth and geometry.dtype == torch.float64:
        _check_derivative(geometry)


def _check_derivative(geometry: Geometry) -> None:
    """The derivative of the matrix along a random direction, against a difference."""
    made, leaves = fresh(geometry)

    def read() -> Tensor:
        return weighted(finite(made.dense()))

    derivatives, ways = torch.autograd.grad(read(), leaves, allow_unused=True, materialize_grads=True), ways_of(leaves)
    allowed = {"rtol": 1e-4, "atol": 1e-4 * max(1.0, *(float(s.abs().max()) for s in derivatives if s.numel()))}
    compare(
        "The gradient of geometry.dense()",
        along(derivatives, ways),
        difference(read, leaves, ways, 1e-6),
        allowed,
        "differs from differences",
    )

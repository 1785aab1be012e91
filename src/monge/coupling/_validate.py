"""Checks of the arguments of a coupling's questions, made once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import (
    check_batches,
    check_device,
    check_floating,
    check_non_negative,
    check_same,
    check_span,
    check_vector,
)
from monge._value import Value
from monge.errors import DtypeError, InfeasibleError, InputError, ShapeError
from monge.geometry import Geometry

from ._hooks import Representation


def _like(P: Representation, name: str, tensor: Tensor, *also: torch.dtype) -> None:
    check_floating(name, tensor)
    check = check_device if tensor.dtype in also else check_same
    check(**{name: tensor, "the plan": P})


def values(P: Representation, v: Any) -> tuple[Tensor, torch.Size]:
    """Values (m,) or (*b, m, k) of the target points, with a last dimension, and the batch of the answer."""
    if isinstance(v, Value):
        raise InputError("P @ v applies a plan to values, but v is a plan: two plans compose as P.then(Q).")
    _like(P, "v", v)
    m = P._shape()[-1]
    wide = v[:, None] if v.ndim == 1 else v
    if wide.ndim < 2 or wide.shape[-2] != m:
        raise ShapeError(
            f"v must have shape ({m},) or (*batch, {m}, k), one row for each of the {m} target points, but has "
            f"{tuple(v.shape)}: for one number per point in a batch use v[..., None], for values of the source points "
            "use P.T @ v."
        )
    return wide, check_batches(**{"the plan": P._shape()[:-2], "v": wide.shape[:-2]})


def weights(P: Representation, a: Any, b: Any) -> None:
    """Reference weights a of the rows and b of the columns; those of a plan in half precision are kept in float32."""
    *leading, n, m = P._shape()
    for name, tensor, size, side in (("a", a, n, "source"), ("b", b, m, "target")):
        _like(P, name, tensor, working_dtype(P))
        check_vector(name, tensor, size, f"weight per {side} point")
    masses(a=a, b=b)
    check_batches(**{"the plan": leading}, a=a.shape[:-1], b=b.shape[:-1])


def masses(**tensors: Tensor) -> None:
    """Tensors must be finite and non-negative."""
    for name, tensor in tensors.items():
        check_non_negative(name, tensor, "mass cannot be owed")


def equal_mass(a: Tensor, b: Tensor) -> None:
    """Two weight vectors must have the same mass up to rounding."""
    first, second = (weights.detach().double().sum(-1) for weights in (a, b))
    gap = (first - second).abs() / torch.maximum(first, second)
    if bool((gap > (1e-9 if a.dtype == torch.float64 else max(1e-4, 2 * torch.finfo(a.dtype).eps))).any()):
        worst = int(gap.argmax())
        told = [float(t.expand(gap.shape).reshape(-1)[worst]) for t in (first, second)]
        raise InfeasibleError(
            f"a and b must have the same mass, but have {told[0]:.9g} and {told[1]:.9g}: scale one of them."
        )


def square(P: Representation) -> None:
    """A plan with as many source as target points."""
    n, m = P._shape()[-2:]
    if n != m:
        raise ShapeError(
            f"assignment needs a square plan, but it is {n} x {m}: top_k(1) gives each source point its best partner."
        )


def geometry(P: Representation, costs: Any) -> None:
    """Costs between the points of the plan."""
    if not isinstance(costs, Geometry):
        raise InputError(
            f"geometry must be a Geometry, but is {type(costs).__name__}: wrap a matrix as CostMatrix(cost), points "
            "as PointCloud(x, y)."
        )
    if tuple(costs.shape) != tuple(P._shape()[-2:]):
        raise ShapeError(
            f"geometry must hold a cost for each of the {P._shape()[-2]} x {P._shape()[-1]} pairs of the plan, but has "
            f"shape {tuple(costs.shape)}: pass the geometry of the same points."
        )
    check_same(**{"geometry": costs, "the plan": P})
    check_batches(**{"the plan": P._shape()[:-2]}, geometry=costs.batch_shape)


def indices(name: str, index: Any, size: int) -> None:
    """Integers in [0, size)."""
    if not isinstance(index, Tensor) or index.dtype not in (torch.int64, torch.int32):
        told = str(index.dtype) if isinstance(index, Tensor) else type(index).__name__
        raise DtypeError(f"{name} must be a tensor of integers, but is {told}: use torch.as_tensor({name}).long().")
    check_span(name, index, 0, size - 1, rule=f"lie in [0, {size - 1}]", remedy="number the points from zero")


def shared_marginal(left: Tensor, right: Tensor, tol: float) -> None:
    """The marginals that two plans should share must agree."""
    left, right = left.detach(), right.detach()
    mass = torch.maximum(left.sum(-1), right.sum(-1))
    gap = (left - right).abs().sum(-1) / mass.masked_fill(mass == 0, 1)
    if bool((gap > tol).any()):
        raise InputError(
            f"P.then(Q) needs the column marginal of P to be the row marginal of Q, but they differ by "
            f"{float(gap.max()):.3g} of the mass in L1, more than tol={tol:g}: solve to a smaller tolerance, or use "
            "P.round(a, b).then(Q)."
        )

"""Every question that is asked of a coupling, beside its answer for a matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import matmul

import torch
from torch import Tensor

from monge.coupling import Coupling
from monge.geometry import CostMatrix, PointCloud

from ._numbers import inverse
from ._question import Question

Draw = Callable[..., Tensor]


def questions(P: Coupling, generator: torch.Generator) -> list[Question]:
    """The questions to a coupling whose answers are differentiable, with inputs of fitting shape."""
    *batch, n, m = P.shape
    like = {"dtype": P.dtype, "device": P.device}

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(**like)

    x, y = rand(n, 2), rand(*batch, m, 2)
    # Of the mass of the plan, so that rounding to them has rows and columns to scale down.
    a, b = rand(*batch, n) + 0.1, rand(*batch, m) + 0.1
    mass = P.detach().mass[..., None].clamp_min(0.1)
    a, b = a * mass / a.sum(-1, keepdim=True), b * mass / b.sum(-1, keepdim=True)
    v = rand(m)
    some = torch.randint(n, (3,), generator=generator)
    return [
        *_operator(tuple(batch), n, m, rand),
        *_numbers(rand(*batch, n, m), x, y, a, b),
        *_entries(n, m, some, v),
        *_plans(min(n, m) > 1, rand(n, 1), y, a, b),
    ]


def _operator(batch: tuple[int, ...], n: int, m: int, rand: Draw) -> list[Question]:
    """The plan as a linear operator with marginals."""
    return [
        Question("P @ v, a vector", matmul, matmul, (rand(m),)),
        Question("P @ v", matmul, matmul, (rand(*batch, m, 3),)),
        Question("P @ v, values in a larger batch", matmul, matmul, (rand(2, *batch, m, 1),)),
        Question("P.T @ u", lambda P, u: P.T @ u, lambda D, u: D.mT @ u, (rand(n, 2),)),
        Question("P.T.T @ v", lambda P, v: P.T.T @ v, matmul, (rand(m, 1),)),
        Question("P.marginals()", lambda P: P.marginals(), lambda D: (D.sum(-1), D.sum(-2))),
        Question("P.mass", lambda P: P.mass, lambda D: D.sum((-1, -2))),
        Question("P.barycentric(v)", lambda P, v: P.barycentric(v), _barycentric, (rand(*batch, m, 2),)),
        Question("P.T.barycentric(u)", lambda P, u: P.T.barycentric(u), lambda D, u: _barycentric(D.mT, u), (rand(n),)),
    ]


def _numbers(C: Tensor, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> list[Question]:
    """One number a plan."""
    return [
        Question(
            "P.transport_cost(PointCloud(x, y))",
            lambda P, x, y: P.transport_cost(PointCloud(x, y)),
            lambda D, x, y: (D * (x[..., :, None, :] - y[..., None, :, :]).square().sum(-1)).sum((-1, -2)),
            (x, y),
        ),
        Question(
            "P.transport_cost(CostMatrix(C))",
            lambda P, C: P.transport_cost(CostMatrix(C)),
            lambda D, C: (D * C).sum((-1, -2)),
            (C,),
        ),
        Question("P.entropy()", lambda P: P.entropy(), _entropy),
        Question("P.kl(a, b)", lambda P, a, b: P.kl(a, b), _kl, (a, b)),
    ]


def _entries(n: int, m: int, some: Tensor, v: Tensor) -> list[Question]:
    """Entries of the matrix: all, some rows, or the largest."""
    return [
        Question("P.rows(i)", lambda P: P.rows(n - 1), lambda D: D[..., n - 1 :, :]),
        Question("P.rows(start:stop)", lambda P: P.rows(slice(0, -1)), lambda D: D[..., :-1, :]),
        Question("P.rows(list)", lambda P: P.rows([0, -1, 0]), lambda D: D[..., [0, -1, 0], :]),
        Question("P.rows(indices)", lambda P: P.rows(some), lambda D: D[..., some, :]),
        Question("P.blocks()", lambda P: torch.cat([p for _, p in P.blocks(max_bytes=1)], -2), lambda D: D),
        Question("P.dense()", lambda P: P.dense(), lambda D: D),
        Question("P.T.dense()", lambda P: P.T.dense(), lambda D: D.mT),
        Question("P.top_k(1)", lambda P: _positive(P.top_k(1).dense()), lambda D: _top_k(D, 1)),
        Question("P.top_k(k)", lambda P: _positive(P.top_k(min(3, m)).dense()), lambda D: _top_k(D, min(3, m))),
        Question("P.sparse(threshold=0)", lambda P: P.sparse(threshold=0.0).dense(), _positive),
        Question("P.sparse(mass=1)", lambda P: P.sparse(mass=1.0) @ v, lambda D: _seen(D) @ v),
    ]


def _plans(smooth: bool, u: Tensor, y: Tensor, a: Tensor, b: Tensor) -> list[Question]:
    """Plans made of plans. With one row or column, rounding meets the other marginal at a kink: it is not smooth."""

    def through(D: Tensor, u: Tensor) -> Tensor:
        return D @ (inverse(D.sum(-2))[..., None] * u)

    return [
        Question("P.round(a, b)", lambda P, a, b: P.round(a, b).dense(), _round, (a, b), smooth),
        Question(
            "P.round(a, b) @ v", lambda P, a, b: P.round(a, b) @ y, lambda D, a, b: _round(D, a, b) @ y, (a, b), smooth
        ),
        Question("P.then(P.T)", lambda P: P.then(P.T).dense(), lambda D: through(D, D.mT)),
        Question("P.then(P.T).T @ u", lambda P, u: P.then(P.T).T @ u, lambda D, u: through(D, D.mT @ u), (u,)),
    ]


def _positive(D: Tensor) -> Tensor:
    """Lists hold no entry without mass, or hold it without a gradient."""
    return D * (D > 0)


def _seen(D: Tensor) -> Tensor:
    """What is more than the rounding of the plan's mass."""
    least = min(4 * torch.finfo(D.dtype).eps, 1e-3 / D.shape[-2:].numel())
    dust = least * D.detach().sum((-1, -2), keepdim=True)
    return torch.where(dust < D, D, 0)


def _barycentric(D: Tensor, v: Tensor) -> Tensor:
    mean = inverse(D.sum(-1))[..., None] * (D @ (v[:, None] if v.ndim == 1 else v))
    return mean[..., 0] if v.ndim == 1 else mean


def _entropy(D: Tensor) -> Tensor:
    return -(D * torch.where(D > 0, D, 1).log()).sum((-1, -2))


def _kl(D: Tensor, a: Tensor, b: Tensor) -> Tensor:
    expected = (D.sum(-1) * a.log()).sum(-1) + (D.sum(-2) * b.log()).sum(-1)
    return -_entropy(D) - expected - D.sum((-1, -2)) + a.sum(-1) * b.sum(-1)


def _top_k(D: Tensor, k: int) -> Tensor:
    index = D.detach().topk(k, -1).indices
    D = _seen(D)
    return _positive(torch.zeros_like(D).scatter(-1, index, D.gather(-1, index)))


def _round(D: Tensor, a: Tensor, b: Tensor) -> Tensor:
    def down(wanted: Tensor, held: Tensor) -> Tensor:
        return torch.where(held > 0, wanted * inverse(held), 1).clamp_max(1)

    under = down(a, D.sum(-1))[..., :, None] * D
    under = under * down(b, under.sum(-2))[..., None, :]
    row, col = (a - under.sum(-1)).clamp_min(0), (b - under.sum(-2)).clamp_min(0)
    return under + row[..., :, None] * col[..., None, :] * inverse(row.sum(-1))[..., None, None]


def forbidden(P: Coupling, D: Tensor) -> tuple[Tensor, Tensor]:
    """Costs that forbid what the plan leaves empty, and costs that forbid an entry it uses."""
    idle = torch.where(D > 0, 1.0, math.inf).to(D.dtype)
    return idle, torch.where(D.amax((-1, -2), keepdim=True) == D, math.inf, 1.0).to(D.dtype)

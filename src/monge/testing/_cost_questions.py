"""Every question that is asked of a geometry, beside its answer for a matrix of costs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from monge.geometry import Geometry

from ._question import Question


def cost_questions(
    shape: tuple[int, ...], like: Tensor, epsilon: float | Tensor, generator: torch.Generator
) -> list[Question]:
    """The questions to a geometry of a shape (*b, n, m), with potentials, log-weights and values that fit."""
    *batch, n, m = shape

    def draw(*size: int) -> Tensor:
        return torch.randn(*batch, *size, generator=generator, dtype=torch.float64).to(like)

    f, g, v = 0.3 * draw(n), 0.3 * draw(m), draw(m, 3)
    log_a, log_b = draw(n).log_softmax(-1), draw(m).log_softmax(-1)
    wide = torch.as_tensor(epsilon, dtype=like.dtype, device=like.device)
    row, col = log_a + f / wide[..., None], log_b + g / wide[..., None]
    return [
        *_softened(wide, f, g, log_a, log_b, row, col, v),
        *_lists(n, m, tuple(batch), g, generator),
        Question("geometry.dense()", lambda G: G.dense(), lambda C: C),
        Question("geometry.T.dense()", lambda G: G.T.dense(), lambda C: C.mT),
        Question("geometry.T.T.dense()", lambda G: G.T.T.dense(), lambda C: C),
        Question("geometry.block(row)", lambda G: G.block(-1), lambda C: C[..., n - 1 :, :]),
        Question("geometry.block(start:stop:step)", lambda G: G.block(slice(0, None, 2)), lambda C: C[..., ::2, :]),
        Question("geometry.block(list)", lambda G: G.block([0, -1, 0]), lambda C: C[..., [0, -1, 0], :]),
        Question("(2 * geometry + geometry).dense()", lambda G: finite((2.0 * G + G).dense()), lambda C: finite(3 * C)),
        Question("geometry.mean(a, b)", lambda G, a, b: G.mean(a, b), mean, (log_a.exp(), log_b.exp())),
        Question("geometry.mean()", lambda G: G.mean(), lambda C: mean(C, torch.ones_like(f), torch.ones_like(g))),
    ]


def _softened(
    epsilon: Tensor, f: Tensor, g: Tensor, log_a: Tensor, log_b: Tensor, row: Tensor, col: Tensor, v: Tensor
) -> list[Question]:
    """What entropic solvers ask."""

    def turned(C: Tensor, f: Tensor) -> Tensor:
        return softmin(C.mT, f, log_a, epsilon)

    def absent(ask: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda C: ask(C[..., :-1], g[..., :-1], log_b[..., :-1], epsilon)

    # Whatever stands at a point of no weight must not matter.
    last = torch.arange(g.shape[-1], device=g.device) == g.shape[-1] - 1
    loud, none = g.masked_fill(last, math.inf), log_b.masked_fill(last, -math.inf)
    questions = [
        Question(
            "geometry._softmin(g, log_b, epsilon)",
            lambda G, g, log_b: G._softmin(g, log_b, epsilon),
            lambda C, g, log_b: softmin(C, g, log_b, epsilon),
            (g, log_b),
        ),
        Question("geometry.T._softmin(f, log_a, epsilon)", lambda G, f: G.T._softmin(f, log_a, epsilon), turned, (f,)),
        Question(
            "geometry._apply(row, col, v, epsilon)",
            lambda G, row, col, v: G._apply(row, col, v, epsilon),
            lambda C, row, col, v: plan(C, row, col, epsilon) @ v,
            (row, col, v),
        ),
        Question(
            "geometry._apply(None, col, v, epsilon)",
            lambda G, col, v: G._apply(None, col, v, epsilon),
            lambda C, col, v: plan(C, None, col, epsilon) @ v,
            (col, v),
        ),
        Question(
            "geometry._inner(row, col, epsilon)",
            lambda G, row, col: G._inner(row, col, epsilon),
            lambda C, row, col: inner(C, row, col, epsilon),
            (row, col),
        ),
        Question(
            "geometry._sinkhorn(g, log_a, log_b, epsilon)",
            lambda G: G._sinkhorn(g, log_a, log_b, epsilon),
            lambda C: sinkhorn(C, g, log_a, log_b, epsilon),
            smooth=False,
        ),
    ]
    if g.shape[-1] > 1:
        questions.append(
            Question(
                "geometry._softmin where a column has no weight",
                lambda G: G._softmin(loud, none, epsilon),
                absent(softmin),
                smooth=False,
            )
        )
    return questions


def _lists(n: int, m: int, batch: tuple[int, ...], g: Tensor, generator: torch.Generator) -> list[Question]:
    """Smallest entries, and entries by their places."""
    k = min(3, m)
    i, j = (torch.randint(size, (7,), generator=generator).to(g.device) for size in (n, m))
    rows, columns = (torch.randint(size, (*batch, 7), generator=generator).to(g.device) for size in (n, m))

    def reduced(C: Tensor) -> Tensor:
        return C - g[..., None, :]

    def least(G: Geometry) -> tuple[Tensor, Tensor]:
        values, index = G._ctransform(g)
        return values, reduced(G.dense()).gather(-1, index[..., None])[..., 0]

    def few(G: Geometry) -> tuple[Tensor, Tensor]:
        values, index = G._top_k(g, k)
        return values, reduced(G.dense()).gather(-1, index)

    return [
        Question(
            "geometry._ctransform(g)",
            lambda G, g: G._ctransform(g)[0],
            lambda C, g: (C - g[..., None, :]).amin(-1),
            (g,),
        ),
        Question("geometry._ctransform(g), by its index", least, lambda C: (reduced(C).amin(-1),) * 2),
        Question("geometry._top_k(g, k), and by its index", few, lambda C: (reduced(C).sort(-1).values[..., :k],) * 2),
        Question("geometry._entries(i, j)", lambda G: G._entries(i, j), lambda C: C[..., i, j]),
        Question(
            "geometry._entries(i, j), other places in every problem",
            lambda G: G._entries(rows, columns),
            lambda C: C.reshape(*C.shape[:-2], -1).gather(-1, rows * m + columns),
        ),
    ]


def finite(C: Tensor) -> Tensor:
    """Costs with a mark in the place of forbidden pairs, whose cost has no derivative."""
    return C.masked_fill(C.isposinf(), -1.0)


def softmin(C: Tensor, g: Tensor, log_b: Tensor, epsilon: Tensor) -> Tensor:
    score = log_b[..., None, :] + (g[..., None, :] - C) / epsilon[..., None, None]
    return -epsilon[..., None] * torch.logsumexp(score, -1)


def plan(C: Tensor, row: Tensor | None, col: Tensor, epsilon: Tensor) -> Tensor:
    score = col[..., None, :] - C / epsilon[..., None, None]
    return score.softmax(-1) if row is None else (score + row[..., :, None]).exp()


def inner(C: Tensor, row: Tensor, col: Tensor, epsilon: Tensor) -> Tensor:
    return (plan(C, row, col, epsilon) * C.masked_fill(C.isposinf(), 0)).sum((-1, -2))


def sinkhorn(C: Tensor, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    f = softmin(C, g, log_b, epsilon)
    new = softmin(C.mT, f, log_a, epsilon)
    column = log_b.exp() * ((g - new) / epsilon[..., None]).exp()
    return f, new, (column - log_b.exp()).abs().sum(-1)


def mean(C: Tensor, a: Tensor, b: Tensor) -> Tensor:
    weight, allowed = a[..., :, None] * b[..., None, :], math.inf > C
    return (weight * C.masked_fill(~allowed, 0)).sum((-1, -2)) / (weight * allowed).sum((-1, -2))

"""The C++ twin: a heap over neighbours for equal weights, a sweep of slopes or a growing staircase for others."""

from __future__ import annotations

import torch
from torch import Tensor

from .._load import AVAILABLE, module
from .._operator import custom_op
from .._rows import RowProblem
from ._form import Pieces, Profile

__all__ = ["AVAILABLE", "partial_plan", "partial_profile"]

_RULES = ("penalty", "mass", "knee")


def partial_plan(
    problem: RowProblem, p: float, period: float, rule: str, level: Tensor, width: int, potentials: bool
) -> Pieces:
    """Plans of at most ``width`` entries."""
    x, y, a, b, _ = problem
    found = _partial_plan(x, y, a, b, level, p, period, _RULES.index(rule), width, potentials)
    return Pieces(*found)


def partial_profile(problem: RowProblem, p: float, period: float, stop: float, most: int) -> Profile:
    """The first ``most`` steps, or those before the first marginal that is not below ``stop``."""
    return Profile(*_partial_profile(problem.x, problem.y, p, period, stop, most))


@custom_op("partial_plan")
def _partial_plan(
    x: Tensor,
    y: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    level: Tensor,
    p: float,
    period: float,
    rule: int,
    width: int,
    potentials: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    i, j, w, reached, f, g = _plan_outputs(x, y, a, b, level, p, period, rule, width, potentials)
    module().partial_plan(
        *(None if held is None else held.detach().contiguous().numpy() for held in (x, y, a, b)),
        p,
        period,
        rule,
        level.detach().contiguous().numpy(),
        i.numpy(),
        j.numpy(),
        w.numpy(),
        reached.numpy(),
        f.numpy() if potentials else None,
        g.numpy() if potentials else None,
        torch.get_num_threads(),
    )
    return i, j, w, reached, f, g


@_partial_plan.register_fake
def _plan_outputs(
    x: Tensor,
    y: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    level: Tensor,
    p: float,
    period: float,
    rule: int,
    width: int,
    potentials: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows = x.shape[0]
    return (
        x.new_empty(rows, width, dtype=torch.int64),
        x.new_empty(rows, width, dtype=torch.int64),
        x.new_empty(rows, width, dtype=torch.float64),
        x.new_empty(rows, 1, dtype=torch.float64),
        x.new_empty(rows, x.shape[1] if potentials else 0, dtype=torch.float64),
        x.new_empty(rows, y.shape[1] if potentials else 0, dtype=torch.float64),
    )


@custom_op("partial_profile")
def _partial_profile(
    x: Tensor, y: Tensor, p: float, period: float, stop: float, most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    marginal, source, target, u, v = _profile_outputs(x, y, p, period, stop, most)
    module().partial_profile(
        *(side.detach().contiguous().numpy() for side in (x, y)),
        p,
        period,
        stop,
        marginal.numpy(),
        source.numpy(),
        target.numpy(),
        u.numpy(),
        v.numpy(),
        torch.get_num_threads(),
    )
    return marginal, source, target, u, v


@_partial_profile.register_fake
def _profile_outputs(
    x: Tensor, y: Tensor, p: float, period: float, stop: float, most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows = x.shape[0]
    return (
        x.new_empty(rows, most, dtype=torch.float64),
        x.new_empty(rows, most, dtype=torch.int64),
        x.new_empty(rows, most, dtype=torch.int64),
        x.new_empty(x.shape, dtype=torch.float64),
        y.new_empty(y.shape, dtype=torch.float64),
    )

"""Small doubly stochastic matrices in large batches, as residual streams and routers need them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._checks import check_choice, check_number
from monge.errors import ConvergenceWarning, DtypeError, InputError, ShapeError

from ._padding import at_least_single, precise

__all__ = ["doubly_stochastic"]

# What the sums of columns may differ from one by, where rows are exact: a few roundings in float64.
_TOL = 1e-14
_FEW, _ROUNDS = 5, 100
# How far scores spread at the temperature at which Newton's method begins.
_WARM = 4.0
# The largest changes of a price that are tried in a step, and the mass that every column shares with a price of zero.
_FURTHEST, _RIDGE = (4.0, 0.5, 0.05), 1e-14


@precise
def doubly_stochastic(
    scores: Float[Tensor, "*b n n"],
    *,
    n_half: int = 40,
    end_on: str = "rows",
    converged: bool = False,
    rounding: bool = False,
) -> Float[Tensor, "*b n n"]:
    r"""Square matrices $P = \mathrm{diag}(u)\, e^S\, \mathrm{diag}(v)$ whose rows and columns sum to one.

    A half-step normalises one side, and the two sides take turns. After ``n_half`` of them the side of the last one is
    exact, and the other one converges. The gradient is the exact gradient of these half-steps: the backward pass
    computes them again and goes back through each. With ``converged``, both sides are exact to $10^{-14}$ in float64
    before the answer is rounded to the dtype of the scores, and the gradient is that of the limit,
    $$\nabla_S = P \circ (G - \lambda 1^\top - 1 \mu^\top), \qquad
    \lambda + P \mu = (P \circ G) 1, \quad P^\top \lambda + \mu = (P \circ G)^\top 1.$$
    On the processor, matrices of up to 32 rows stand side by side in the lanes of a register; a batch of a million
    4 x 4 matrices and their gradient takes less than a second.

    Args:
        scores: S, one matrix or a batch; -inf forbids a pair.
        n_half: Half-steps, at least 1, which is a softmax; 40 are twenty iterations of both sides.
        end_on: "rows" or "columns", the side of the last half-step.
        converged: Whether to iterate to the limit instead, by Newton's method after ``n_half`` half-steps.
        rounding: Whether a last step makes both sides exact: rows and columns above one are scaled down, and what is
            missing is added as a matrix of rank one. It moves the matrix by at most twice the error of its sums.

    Returns:
        Matrices of the shape and dtype of the scores, at least float32 inside. They are NaN where scores are NaN or
        infinite, or where a row or a column is forbidden altogether.

    Raises:
        ShapeError: If the matrices are not square.
        DtypeError: If the scores are not numbers of a floating type.
        InputError: If an option is unknown, or ``n_half`` below one.

    Warns:
        ConvergenceWarning: If ``converged`` is wanted and the sums still differ from one: then pairs are forbidden that
            the limit needs, or scores spread so far that it cannot be reached.

    Example:
        >>> import torch
        >>> from monge.nn.functional import doubly_stochastic
        >>> mixing = doubly_stochastic(torch.randn(1000, 4, 4), converged=True)
        >>> torch.allclose(mixing.sum(-2), torch.ones(1000, 4), atol=1e-6)
        True

    Source: Sinkhorn, Knopp, Concerning nonnegative matrices and doubly stochastic matrices (1967); the last step is
        that of Altschuler, Weed, Rigollet, arXiv 1705.09634.
    """
    if not scores.is_floating_point():
        raise DtypeError(f"scores must be of a floating dtype, but are {scores.dtype}: convert them with .float().")
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2]:
        raise ShapeError(f"scores must have shape (..., n, n), but have {tuple(scores.shape)}: make them square.")
    check_choice("end_on", end_on, ("rows", "columns"))
    check_number("n_half", n_half, low=1)
    if int(n_half) != n_half:
        raise InputError(f"n_half must be a whole number, but is {n_half}: round it.")
    (held,) = at_least_single(scores)
    if converged:
        flat = held.double().reshape(held.shape[:-2].numel(), *held.shape[-2:])
        plan = _Limit.apply(flat, int(n_half)).reshape(held.shape)
    else:
        plan = kernels.small_plans(held, int(n_half), end_on)
    return (_rounded(plan) if rounding else plan).to(scores.dtype)


def _rounded(plan: Tensor) -> Tensor:
    """Both sides exact: scaled down where a sum is above one, and filled up by a matrix of rank one."""
    plan = plan / plan.sum(-1, keepdim=True).clamp_min(1.0)
    plan = plan / plan.sum(-2, keepdim=True).clamp_min(1.0)
    row, col = (1.0 - plan.sum(-1)).clamp_min(0.0), (1.0 - plan.sum(-2)).clamp_min(0.0)
    missing = row.sum(-1, keepdim=True)
    share = col / missing.masked_fill(missing == 0, 1.0)
    return plan + row[..., :, None] * share[..., None, :]


class _Limit(torch.autograd.Function):
    """The limit of the half-steps in float64, with the gradient of the limit, which is a function of the matrix."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, n_half: int) -> Tensor:
        plan = _limit(scores.detach(), n_half)
        ctx.save_for_backward(plan)
        return plan

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (plan,) = ctx.saved_tensors
        weighed = plan * upstream[0]
        row, col = weighed.sum(-1)[..., None], weighed.sum(-2)[..., None]
        mu = _prices(plan, col - plan.mT @ row)
        return plan * (upstream[0] - (row - plan @ mu) - mu.mT), None


def _prices(plan: Tensor, right: Tensor, ridge: float = 0.0) -> Tensor:
    """The solution of (diag(Pᵀ1) - PᵀP) μ = right with last entry zero, where rows sum to one; right sums to zero."""
    shared = plan.mT @ plan
    shared = shared - torch.diag_embed(shared.diagonal(dim1=-2, dim2=-1))
    # Sums of what is shared with others keep the digits that a difference of two numbers near one would lose.
    laplacian = (torch.diag_embed(shared.sum(-1) + ridge) - shared)[..., :-1, :-1]
    right = right[..., :-1, :]
    factor, failed = torch.linalg.cholesky_ex(laplacian)
    found = torch.cholesky_solve(right, factor)
    singular = failed > 0
    if bool(singular.any()):
        # The matrix falls into blocks, such as those of a permutation, between which prices do not matter.
        inverse = torch.linalg.pinv(laplacian[singular], rtol=1e-13, hermitian=True)
        found = found.index_put((singular,), inverse @ right[singular])
    return torch.nn.functional.pad(found, (0, 0, 0, 1))


def _limit(scores: Tensor, n_half: int) -> Tensor:
    """Matrices with rows that sum to one, and columns as nearly as rounding allows."""
    plan = kernels.small_plans(scores, n_half)
    for nearer in (lambda which: _settled(plan[which].log(), _TOL, _FEW), lambda which: _cooled(scores[which])):
        left = (_error(plan) > _TOL).nonzero()[:, 0]
        if len(left):
            plan[left] = torch.softmax(nearer(left), -1)
    error = _error(plan)
    if bool((error > _TOL).any()):
        warnings.warn(
            f"{int((error > _TOL).sum())} of {len(error)} doubly stochastic matrices have columns whose sums differ "
            f"from one by up to {float(error.nan_to_num(0.0).max()):.1e}: allow more pairs, or divide the scores by a "
            "temperature.",
            ConvergenceWarning,
            stacklevel=7,
        )
    return plan


def _error(plan: Tensor) -> Tensor:
    """How far sums of columns are from one at most; NaN where a matrix is none."""
    off = (plan.sum(-2) - 1.0).abs()
    return off.amax(-1) if off.shape[-1] else off.sum(-1)


def _cooled(scores: Tensor) -> Tensor:
    """The limit by Newton's method, from a temperature at which scores hardly differ down to one by halves."""
    low = torch.where(scores > -math.inf, scores, math.inf).amin((-2, -1))
    spread = float((scores.amax((-2, -1)) - low).amax())
    halves = max(0, math.ceil(math.log2(max(spread / _WARM, 1.0))))
    logs = scores * 0.5**halves
    for _ in range(halves):
        logs = 2 * _settled(logs, 1e-3, _ROUNDS)
    return _settled(logs, _TOL, _ROUNDS)


def _settled(logs: Tensor, tol: float, rounds: int) -> Tensor:
    """Logarithms of matrices whose columns sum to one as nearly as wanted, if the rounds suffice."""
    left = torch.arange(len(logs), device=logs.device)
    for _ in range(rounds):
        left = left[_error(torch.softmax(logs[left], -1)) > tol]
        if not len(left):
            break
        logs = logs.index_put((left,), _nearer(logs[left]))
    return logs


def _nearer(logs: Tensor) -> Tensor:
    """A step of Newton in the prices of the columns, or two half-steps where these lead nearer."""
    logs = torch.log_softmax(logs, -1)
    plan = logs.exp()
    # Between blocks that share next to nothing, prices of any size would follow from rounding.
    price = _prices(plan, 1.0 - plan.sum(-2)[..., None], _RIDGE).mT
    longest = price.abs().amax(-1, keepdim=True)
    steps = [torch.log_softmax(logs, -2)] + [logs + price * (most / longest).clamp_max(1.0) for most in _FURTHEST]
    errors = torch.stack([_error(torch.softmax(step, -1)) for step in steps])
    best = errors.nan_to_num(math.inf).argmin(0)
    return torch.stack(steps)[best, torch.arange(len(logs), device=logs.device)]

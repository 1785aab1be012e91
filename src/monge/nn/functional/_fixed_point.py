r"""Entropic plans of a score matrix with unit mass: the half-steps, counted one by one, and their two gradients.

The plan $P_{ij} = \exp(S_{ij} + u_i + v_j)$ maximises $\langle P, S\rangle + H(P)$ with row marginal a and
column marginal b. Zero weight is absence: the potential is $-\infty$ there and nothing else changes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from monge.kernels import half_steps, log_sum_exp, row_shares

from ._shards import add_up


def balanced(
    scores: Float[Tensor, "*b n m"],
    log_a: Float[Tensor, "*#b n"],
    log_b: Float[Tensor, "*#b m"],
    n_half: int,
) -> Float[Tensor, "*b m"]:
    r"""The column potential of `half_steps`, differentiated at its fixed point instead of through the steps.

    Where $\sum_i a_i \mathrm{softmax}_j(S_i + v) = b$ holds, a cotangent on v meets one symmetric m x m system,
    $\mathrm{diag}(b) - P^T \mathrm{diag}(1/a) P$. Exact at convergence; memory of one plan.
    """
    with torch.no_grad():
        _, v = half_steps(scores, log_a, log_b, n_half)
    return fixed_point(scores, log_a, log_b, v)


def fixed_point(
    scores: Float[Tensor, "*b n m"],
    log_a: Float[Tensor, "*#b n"],
    log_b: Float[Tensor, "*#b m"],
    v: Float[Tensor, "*b m"],
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, "*b m"]:
    """The column potential ``v`` with the gradient of a fixed point, as in `balanced`.

    The rows may be sharded over the processes of a group.
    """
    return _FixedPoint.apply(scores, log_a, log_b, v, group)


def converge(
    scores: Float[Tensor, "*b n m"],
    log_a: Float[Tensor, "*#b n"],
    log_b: Float[Tensor, "*#b m"],
    tol: float,
    max_iter: int,
    every: int = 10,
) -> Float[Tensor, "*b m"]:
    """The column potential once the L1 error of the column marginal is below ``tol``, or after ``max_iter`` rounds.

    The error is looked at every ``every`` rounds only, the one place where an attention layer waits for its device.
    """
    v = None
    with torch.no_grad():
        for _ in range(0, max_iter, every):
            u, v = half_steps(scores, log_a, log_b, 2 * every + 1, v)
            mass = torch.exp(log_sum_exp(scores + u[..., None], -2) + v)
            if bool(((mass - log_b.exp()).abs().sum(-1) <= tol).all()):
                break
    return _FixedPoint.apply(scores, log_a, log_b, v, None)


class _FixedPoint(torch.autograd.Function):
    """Lets the gradient of the converged column potential reach the scores and both weights."""

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, log_a: Tensor, log_b: Tensor, v: Tensor, group: dist.ProcessGroup | None
    ) -> Tensor:
        ctx.group = group
        # The answer itself, not what came in: further derivatives pass through it once more.
        out = v.clone()
        ctx.save_for_backward(scores, log_a, log_b, out)
        return out

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        scores, log_a, log_b, v = ctx.saved_tensors
        share = row_shares(scores, v, log_a)
        plan = share * log_a.exp()[..., None]
        sums = add_up(torch.cat([plan.mT @ share, plan.sum(-2)[..., None], cotangent[..., None]], -1), ctx.group)
        overlap, mass = sums[..., :-2], sums[..., -2]
        # A Laplacian over the columns. It is singular along constants, which a loss that cannot see the gauge never
        # excites; the constant matrix fills that direction, and absent columns keep a one on the diagonal.
        present = (mass > 0).double()
        laplacian = torch.diag_embed(mass.double() + (1 - present)) - overlap.double()
        fill = present[..., :, None] * present[..., None, :] / present.sum(-1).clamp_min(1)[..., None, None] ** 2
        size = scores.shape[-1]
        ridge = 1e-14 * torch.eye(size, dtype=torch.float64, device=scores.device)
        factor, _ = torch.linalg.cholesky_ex(laplacian + fill + ridge)
        # The cotangent of all shards moves the scores of this one; its own part is what it adds for the masses.
        cotangents = sums[..., -1:] if ctx.group is None else torch.stack([sums[..., -1], cotangent], -1)
        present = present[..., None]
        right = cotangents.double() * present
        right = present * (right - right.sum(-2, keepdim=True) / present.sum(-2, keepdim=True).clamp_min(1))
        solution = torch.cholesky_solve(right, factor).to(scores.dtype)
        y, own = solution[..., 0], solution[..., -1]
        felt = share @ y[..., None]
        grad_scores = plan * (felt - y[..., None, :])
        return grad_scores, -log_a.exp() * felt[..., 0], own * log_b.exp(), None, None

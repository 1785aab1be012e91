"""Transport of a measure to itself: one potential instead of two."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from monge._value import value
from monge.dual import Ascent
from monge.errors import InputError
from monge.gradient import Gradient, Implicit
from monge.problem import Linear
from monge.problem.marginal import column, log_weights

from ._iterative import Iterative
from ._loop import Goal, Iterate
from ._working import Accuracy
from .base import Capability, Case

__all__ = ["Symmetric"]


@value
class Symmetric(Iterative):
    r"""For entropic problems that are their own transpose, such as the transport of a measure to itself.

    Both potentials are equal, and $f = U(T(f))$. If $\exp(-C / \epsilon)$ is positive definite, as for powers up to two
    of the Euclidean distance, this map has derivatives in [-1, 0] near the solution. Then one step to the mean of f and
    $U(T(f))$ at least halves the error, whatever epsilon is.

    Args:
        tol: L1 marginal error relative to the mass asked for; None is 1e-9 in float64 and 1e-4 in lower precision.
        max_iter: Limit of the number of iterations.
        gradient: How the answer is differentiated.
        strict: Whether to raise NotConvergedError instead of reporting an unmet tolerance.

    Raises:
        InputError: If rows and columns of the problem are not the same.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.problem import Linear
        >>> from monge.solver import Symmetric
        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> solve(Linear.between(x, x, epsilon=0.5), Symmetric()).report.status.ok
        True

    Source: Feydy et al., Interpolating between optimal transport and MMD using Sinkhorn divergences (arXiv 1810.08278).
    """

    tol: float | None = None
    max_iter: int = 200
    gradient: Gradient = Implicit()
    strict: bool = False
    treats: ClassVar[frozenset[str]] = frozenset({"linear", "entropic", "square"})

    def _capability(self, case: Case) -> Capability:
        if self.gradient._recorded:
            return Capability.no("Symmetric has no fixed number of iterations to record; Sinkhorn has.")
        return Capability(True, math.inf, "for problems that are their own transpose; never chosen: ask for it.")

    def _iterated(self, problem: Linear, accuracy: Accuracy) -> Iterate:
        epsilon, ascent, log_a = problem.epsilon, Ascent(problem), log_weights(problem.a)
        # Rows and columns err alike, so that both together would just meet the tolerance at half of it.
        goal = Goal(accuracy.goal / 4, accuracy.floor(problem.a.dtype))
        f = ascent.zero()
        _check_symmetric(problem, f)
        spent = torch.full(problem.batch_shape, int(self.max_iter), dtype=torch.long, device=f.device)
        ended = torch.zeros_like(spent, dtype=torch.bool)
        for k in range(1, int(self.max_iter) + 1):
            q = problem._row_transform(f)
            found, asked = torch.exp(log_a + (f - q) / column(epsilon)), problem.source._mass_at(f)
            error = (found - asked).abs().sum(-1) / asked.sum(-1)
            done = goal.met(error, ascent.rounding(f, f, epsilon), torch.ones_like(ended))
            spent = torch.where(done & ~ended, k, spent)
            ended = ended | done
            if bool(ended.all()):
                break
            # A problem that is done stays as it is: its answer must not depend on its neighbours.
            f = torch.where(column(ended), f, (f + problem.source._maximiser(q, epsilon)) / 2)
        return Iterate(f, f.clone(), spent, ended)


def _check_symmetric(problem: Linear, f: Tensor) -> None:
    """Rows and columns must have equal weights, and see equal costs on a soft average."""
    rows, columns = problem._row_transform(f), problem._col_transform(f)
    allowed = 1e3 * torch.finfo(f.dtype).eps
    same = torch.allclose(rows, columns, rtol=allowed, atol=float(allowed * problem.epsilon.max()))
    if f.numel() and not (same and torch.allclose(problem.a, problem.b, rtol=allowed)):
        raise InputError(
            "Symmetric needs a problem that is its own transpose, with the same points and weights on both sides, but "
            "rows and columns differ: use Sinkhorn or Newton."
        )

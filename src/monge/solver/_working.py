"""What can be asked of an answer in the dtype in which it is computed."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from monge.errors import PrecisionWarning
from monge.problem import Linear

# Rows of the cost from which its range is estimated.
_SAMPLED_ROWS = 16
# The range of a cost is many times what its plan sees of it; only what lies clearly beyond the tolerance is foretold.
_SURELY = 32.0


def unit(dtype: torch.dtype) -> float:
    """The relative error of one rounding."""
    return torch.finfo(dtype).eps / 2


class Accuracy:
    """What can be asked of the answer to a problem, foretold from a sample of its costs.

    Args:
        problem: The problem, in any dtype.
        tol: The marginal error that was asked for.
        dtype: The dtype of the potentials that are handed out.
    """

    def __init__(self, problem: Linear, tol: float, dtype: torch.dtype) -> None:
        n = problem.shape[0]
        rows = torch.linspace(0, n - 1, min(n, _SAMPLED_ROWS), device=problem.a.device).round().long()
        cost = problem.geometry._block(rows).to(torch.float64).flatten(-2)
        known = cost.isfinite()
        count = known.sum(-1).clamp(min=1)
        mean = (cost.masked_fill(~known, 0.0).sum(-1) / count).abs()
        high = cost.masked_fill(~known, -torch.inf).amax(-1)
        low = cost.masked_fill(~known, torch.inf).amin(-1)
        epsilon = problem.epsilon.double().broadcast_to(problem.batch_shape)
        self.tol, self.dtype = tol, dtype
        self.range: Float[Tensor, "*b"] = torch.nan_to_num(high - low, neginf=0.0) + mean
        self.relative = (2 * self.range / epsilon).broadcast_to(problem.batch_shape)

    def floor(self, dtype: torch.dtype) -> Float[Tensor, "*b"]:
        """The error that rounding of the costs in a dtype explains, at most 0.1."""
        return (unit(dtype) * self.relative).clamp(max=0.1)

    @property
    def goal(self) -> Float[Tensor, "*b"]:
        """The error to iterate to, which leaves room for the rounding of what is handed out."""
        return (self.tol - unit(self.dtype) * self.relative / 4).clamp(min=self.tol / 2)

    def foretell(self) -> bool:
        """Warn if rounding will stop the solver; whether it did so."""
        worst = float(self.relative.max()) * unit(self.dtype) if self.relative.numel() else 0.0
        if worst <= _SURELY * self.tol:
            return False
        warnings.warn(
            f"epsilon is too small for {str(self.dtype).removeprefix('torch.')}: rounding of the costs alone may "
            f"change marginals by {min(worst, 2.0):.1e}, and tol is {self.tol:.1e}; use float64, a larger epsilon, or "
            "costs without a common offset.",
            PrecisionWarning,
            stacklevel=4,
        )
        return True

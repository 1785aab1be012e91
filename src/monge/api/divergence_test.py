"""Whether two samples come from one law: the Sinkhorn divergence with its standard error and a permutation test."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import pieces, take
from monge._checks import check_clouds, check_count, check_number
from monge._users_arrays import answers_in_kind, takes_arrays
from monge._value import Value, value
from monge.errors import InputError
from monge.geometry import cost_between
from monge.problem import Linear
from monge.problem.epsilon import Relative
from monge.solver import Solver

from .divergence import check_entropic, debiased, divergence, dual_solution, self_solution

__all__ = ["DivergenceTest", "divergence_test"]


@value
class DivergenceTest(Value):
    """The divergence of two samples, how exact it is, and how large it would be by chance.

    Args:
        divergence: (*b,) of the samples as they are.
        standard_error: (*b,) standard deviation of ``divergence`` over new samples, see `divergence_test`.
        permuted: (*b, permutations) divergences after the points of both samples were mixed.

    Example:
        >>> DivergenceTest(torch.tensor(2.0), torch.tensor(0.1), torch.tensor([0.5, 1.0, 3.0])).p_value
        tensor(0.5000)
    """

    divergence: Float[Tensor, "*b"]
    standard_error: Float[Tensor, "*b"]
    permuted: Float[Tensor, "*b permutations"]

    @property
    @answers_in_kind
    def p_value(self) -> Float[Tensor, "*b"]:
        """The share of divergences that are at least as large, the one of the samples among them."""
        larger = (self.permuted >= self.divergence[..., None]).sum(-1)
        return (larger + 1).to(self.divergence.dtype) / (self.permuted.shape[-1] + 1)


@takes_arrays
@torch.no_grad()
def divergence_test(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    *,
    permutations: int = 199,
    cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
    epsilon: float | Tensor | Relative = 0.05,
    solver: Solver | None = None,
    max_bytes: int = 2**27,
    generator: torch.Generator | None = None,
) -> DivergenceTest:
    r"""Test by permutations whether two samples come from one law, and the standard error of their divergence.

    If they do, the points of both are exchangeable, and the rank of the divergence among those of mixed samples is
    uniform: a p-value of at most $\alpha$ has a probability of at most $\alpha$, whatever the sizes, the dimension
    and epsilon are. The standard error is asymptotic, from the potentials of the three problems:
    $$\sigma^2 = \tfrac1n \mathrm{Var}_x(f_{xy} - f_{xx}) + \tfrac1m \mathrm{Var}_y(g_{xy} - g_{yy}),$$
    with the variances of samples, whose denominators are n - 1 and m - 1. It describes two different laws; for equal
    laws the first order vanishes, and the permutations answer. It says nothing about the bias of small samples.

    Args:
        x: First samples, of equal weights.
        y: Second samples.
        permutations: How many times the samples are mixed; 0 for the standard error alone, with a p-value of 1.
        cost: As in `divergence`.
        epsilon: Strength of the entropy; `relative` refers to the mean cost of all points of both samples, so that it
            is the same in every permutation.
        solver: An entropic solver; None chooses.
        max_bytes: Bound on the memory of the permutations that are solved together; at least one is.
        generator: Source of the permutations, which are drawn for each problem of a batch by itself.

    Returns:
        The divergence, its standard error, the divergences of the permutations, and the p-value.

    Raises:
        InputError: If an argument is wrong, or a sample has a single point.

    Example:
        >>> import torch
        >>> import monge
        >>> g = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(30, 2, generator=g), torch.randn(30, 2, generator=g) + 1.0
        >>> found = monge.divergence_test(x, y, permutations=19, epsilon=1.0, generator=g)
        >>> round(float(found.p_value), 4)
        0.05

    Source: Phipson, Smyth, Permutation P-values should never be zero (arXiv 1603.05766), the p-value; Goldfeld, Kato,
        Rioux, Sadhu, Limit theorems for entropic optimal transport maps and the Sinkhorn divergence (arXiv 2207.08683),
        the variance.
    """
    check_count("permutations", permutations, low=0)
    check_number("max_bytes", max_bytes, low=1)
    check_clouds(x, y)
    (n, d), m = x.shape[-2:], y.shape[-2]
    if min(n, m) < 2:
        raise InputError(f"x and y must have at least two points to have a variance, but have {n} and {m}: add points.")
    x, y = (torch.broadcast_tensors(side, other[..., :1, :1])[0] for side, other in ((x, y), (y, x)))
    pooled = torch.cat([x, y], -2)
    if isinstance(epsilon, Relative):
        epsilon = Linear(cost_between(pooled, pooled, cost), epsilon=epsilon).epsilon
    problem, *own = (Linear.between(u, v, cost=cost, epsilon=epsilon) for u, v in ((x, y), (x, x), (y, y)))
    check_entropic(problem)
    xy, (xx, yy) = dual_solution(problem, solver), (self_solution(one, solver) for one in own)
    spread = (xy.f - xx.potential).var(-1) / n + (xy.g - yy.potential).var(-1) / m
    order = torch.rand(permutations, *pooled.shape[:-1], generator=generator, dtype=torch.float64).argsort(-1)
    together = max(1, max_bytes // (8 * pooled.shape[:-2].numel() * (n * m + 32 * (n + m) * (d + 1))))
    permuted = [pooled.new_empty(0, *pooled.shape[:-2])]
    for some in pieces(permutations, together):
        mixed = take(pooled, order[some].to(pooled.device))
        permuted.append(divergence(*mixed.split((n, m), -2), cost=cost, epsilon=epsilon, solver=solver))
    found = debiased(problem, xy, xx, yy)
    return DivergenceTest(found, spread.sqrt().to(found.dtype), torch.cat(permuted).movedim(0, -1))

"""From two point clouds to a plan."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from monge._users_arrays import takes_arrays
from monge.coupling import Coupling, PotentialCoupling
from monge.geometry import Geometry
from monge.problem import Linear
from monge.problem.epsilon import Relative
from monge.solver import Solver, warned_solution

__all__ = ["couple"]


@takes_arrays(constant=lambda plan: not isinstance(plan, PotentialCoupling))
def couple(
    x: Float[Tensor, "*b n d"] | Geometry,
    y: Float[Tensor, "*b m d"] | None = None,
    a: Float[Tensor, "..."] | None = None,
    b: Float[Tensor, "..."] | None = None,
    *,
    cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
    epsilon: float | Tensor | Relative = 0.0,
    mass: float | Tensor | None = None,
    rho: float | Tensor | tuple[float | Tensor, float | Tensor] | None = None,
    penalty: str = "kl",
    solver: Solver | None = None,
) -> Coupling:
    r"""The optimal plan between two clouds, as an operator; for epsilon > 0, no n x m matrix is ever built.

    $$\min_P \; \langle C, P\rangle + \epsilon\,\mathrm{KL}(P \,|\, a \otimes b)$$
    over plans with marginals a and b. With ``mass`` the plan moves exactly this mass and leaves the rest where it is.
    With ``rho`` it may miss the marginals at a price,
    $\rho_1\,\mathrm{KL}(P1 | a) + \rho_2\,\mathrm{KL}(P^\top 1 | b)$; ``rho=(inf, 1.0)`` keeps the first marginal.
    Other conditions are those of a `Linear` problem for `solve`.

    Arrays of NumPy, lists and integers are taken as well as tensors, and pictures are weights on a grid:
    ``couple(Grid((28, 28)), a=first, b=second)``.

    Args:
        x: Sources, or a geometry that holds both sides.
        y: Targets.
        a: Weights (*b, n) of the sources, 1/n each if None. A point of weight zero is absent. On a
            `monge.geometry.Grid` of h x w pixels, the weights may be pictures (*b, h, w).
        b: Weights (*b, m) of the targets, of the same mass unless ``mass`` or ``rho`` is given.
        cost: A name of `monge.geometry.COSTS`, or a function as in `PointCloud`.
        epsilon: Strength of the entropy in units of the cost, or `relative`; zero is exact transport.
        mass: Total mass to move, at most that of either side.
        rho: Price of missing a marginal, in units of the cost, or a pair of prices for the two sides. An infinite price
            fixes the marginal; a price of zero, on one side at most, leaves it free.
        penalty: How a marginal may be missed: ``"kl"``, ``"l2"``, ``"tv"``, or another of `monge.problem.PENALTIES`.
        solver: How to solve; None chooses, see `explain`.

    Returns:
        The coupling, which holds tensors, whatever it was made from; ``torch.from_numpy(v)`` makes a tensor for
        ``P @ v``, and ``.numpy()`` an array of its answer. For the value, the potentials and a report use `solve`.

    Raises:
        InputError: If an argument is wrong; the message says which, why, and what to do. Shapes, dtypes and devices
            have errors of their own below it.
        InfeasibleError: If no plan meets the constraints.
        CapabilityError: If no solver can treat the problem, or the solver that was given cannot.

    Warns:
        ConvergenceWarning: If the solver missed its tolerance.
        PromotionWarning: If arrays of different float types were promoted to one.

    Example:
        >>> import torch
        >>> import monge
        >>> g = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(100, 2, generator=g), torch.randn(120, 2, generator=g) + 1
        >>> P = monge.couple(x, y, epsilon=0.05)
        >>> P.barycentric(y).shape  # where each x goes, on average
        torch.Size([100, 2])

    Source: Peyre, Cuturi, Computational optimal transport (arXiv 1803.00567).
    """
    problem = Linear.between(x, y, a, b, cost=cost, epsilon=epsilon, mass=mass, rho=rho, penalty=penalty)
    return warned_solution(problem, solver).coupling

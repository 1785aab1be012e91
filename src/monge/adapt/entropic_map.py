"""Domain adaptation by entropic plans."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from monge.coupling import TransportMap
from monge.geometry import cost_between
from monge.problem import Linear, Relative, relative
from monge.solver import Solver

from ._estimator import TransportEstimator, geometry_between, map_of

__all__ = ["EntropicMap"]


@dataclass(eq=False, repr=False)
class EntropicMap(TransportEstimator):
    r"""The map of the entropic plan, from the data that it is fitted on to a target.

    `fit` solves $\min_P \langle C, P\rangle + \epsilon\,\mathrm{KL}(P | a \otimes b)$ with equal weights a and b. Any
    point x, seen or not, goes to the mean of the target points by the row that the plan would have at x,
    $\sum_j p_j(x)\,y_j$ with $p_j(x) \propto b_j\,e^{(g_j - C(x, y_j))/\epsilon}$. The map is smooth; its images lie
    closer together than the target, by a bias that is proportional to epsilon.

    Args:
        target: The points to go to, or the name of a distribution, as in `ExactMap`.
        target_labels: Classes of the target points, as in `ExactMap`.
        cost: A name of `monge.geometry.COSTS`, or a function as in `monge.geometry.PointCloud`.
        random_state: Seed of the points that are drawn from a named distribution.
        generator: Their source of randomness as torch has it, instead of ``random_state``.
        epsilon: Strength of the entropy, in units of the cost, or `monge.relative` to the mean cost; None is
            ``relative(0.05)``.
        method: How new points move, ``"barycentric"`` or ``"nearest"``. None takes "barycentric", and "nearest" if
            labels forbid pairs.
        solver: How to solve; None chooses, see `monge.explain`.

    Attributes:
        coupling_: The plan, a `monge.coupling.Coupling`.
        map_: The map, a `monge.coupling.TransportMap`.
        n_features_in_: The number of features d.

    Example:
        >>> import numpy as np
        >>> from monge.adapt import EntropicMap
        >>> X = np.random.default_rng(0).normal(size=(50, 2))
        >>> adapted = EntropicMap(target=0.5 * X + 3).fit(X)
        >>> adapted.transform([[0.0, 0.0], [1.0, 1.0]]).round(0)
        array([[3., 3.],
               [3., 3.]])

    Source: Courty, Flamary, Tuia, Rakotomamonjy, Optimal transport for domain adaptation, arXiv:1507.00504; Pooladian,
        Niles-Weed, Entropic estimation of optimal transport maps, arXiv:2109.12004.
    """

    _: KW_ONLY
    epsilon: float | Relative | None = None
    method: str | None = None
    solver: Solver | None = None

    def _fitted(self, x: Tensor, target: Tensor, labels: Tensor | None, forbidden: Tensor | None) -> TransportMap:
        geometry = geometry_between(x, target, self.cost, forbidden)
        problem = Linear.between(geometry, epsilon=or_default(self.epsilon), **self._conditions())
        return map_of(problem, self.solver, cost_between(x, target, self.cost), self.method)

    def _conditions(self) -> dict:
        """What else is asked of the plan, in the words of `Linear.between`."""
        return {}


def or_default(epsilon: float | Relative | None) -> float | Relative:
    """The epsilon of an estimator, whose parameters scikit-learn wants to be plain by default."""
    return relative(0.05) if epsilon is None else epsilon

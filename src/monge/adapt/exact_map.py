"""Domain adaptation by exact plans."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from monge.coupling import TransportMap
from monge.geometry import cost_between
from monge.problem import Linear
from monge.solver import Solver

from ._estimator import TransportEstimator, geometry_between, map_of

__all__ = ["ExactMap"]


@dataclass(eq=False, repr=False)
class ExactMap(TransportEstimator):
    r"""The map of the optimal plan without entropy, from the data that it is fitted on to a target.

    `fit` solves $\min_P \langle C, P\rangle$ over plans whose rows and columns have equal weights. A source point goes
    to the barycentre of its row, $\sum_j P_{ij}\,y_j / \sum_j P_{ij}$. `monge.coupling.TransportMap` says where other
    points go.

    Args:
        target: The points to go to, (m, d). Or the name of a distribution from which as many points are drawn as the
            source has: ``"normal"``, the standard normal distribution, or ``"uniform"``, on the unit cube.
        target_labels: Classes of the target points, (m,); -1 where a class is not known. Mass never goes from a point
            of one known class to a point of another. Classes that are known on both sides must then fit together.
        cost: A name of `monge.geometry.COSTS`, or a function as in `monge.geometry.PointCloud`.
        random_state: Seed of the points that are drawn from a named distribution: a number, or None, as everywhere in
            scikit-learn.
        generator: Their source of randomness as torch has it, instead of ``random_state``.
        method: How new points move, ``"brenier"`` or ``"nearest"``. None takes "brenier", and "nearest" if labels
            forbid pairs, since then the cost of a new point, whose class is not known, is no function of the point.
        solver: How to solve; None chooses, see `monge.explain`.

    Attributes:
        coupling_: The plan, a `monge.coupling.Coupling`.
        map_: The map, a `monge.coupling.TransportMap`.
        n_features_in_: The number of features d.

    Example:
        >>> import numpy as np
        >>> from monge.adapt import ExactMap
        >>> X = np.array([[0.0], [1.0], [2.0]])
        >>> adapted = ExactMap(target=X[::-1] + 10).fit(X)
        >>> adapted.transform(X)
        array([[10.],
               [11.],
               [12.]])
        >>> adapted.inverse_transform([[12.0]])
        array([[2.]])

    Source: Courty, Flamary, Tuia, Rakotomamonjy, Optimal transport for domain adaptation, arXiv:1507.00504;
        Chernozhukov et al., Monge-Kantorovich depth, quantiles, ranks and signs, arXiv:1412.8434, for maps to a
        distribution.
    """

    _: KW_ONLY
    method: str | None = None
    solver: Solver | None = None

    def _fitted(self, x: Tensor, target: Tensor, labels: Tensor | None, forbidden: Tensor | None) -> TransportMap:
        problem = Linear(geometry_between(x, target, self.cost, forbidden))
        return map_of(problem, self.solver, cost_between(x, target, self.cost), self.method)

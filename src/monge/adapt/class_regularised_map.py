"""Domain adaptation by plans that keep the classes of the source apart."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass

from sklearn.utils import Tags
from torch import Tensor

from monge.coupling import TransportMap
from monge.errors import ConvergenceWarning, InputError
from monge.geometry import cost_between
from monge.problem import Linear, Relative

from ._estimator import TransportEstimator, geometry_between
from .class_regularised import solve_by_class
from .entropic_map import or_default

__all__ = ["ClassRegularisedMap"]


@dataclass(eq=False, repr=False)
class ClassRegularisedMap(TransportEstimator):
    r"""The map of an entropic plan in which a target point receives from few classes of the source.

    `fit` finds a stationary plan of the objective of `solve_by_class`: the entropic one, and a price
    $\eta \sum_j b_j \sum_c \sqrt{s_{jc} + \delta}$ for the shares $s_{jc}$ of the classes in what target point j
    receives. So clusters of the target are not mixed from two classes, and a classifier that is trained on the moved
    source keeps its border between them. A source point goes to the barycentre of its row, and a new point moves as
    the nearest source point does, since its class is not known.

    Args:
        target: The points to go to, or the name of a distribution, as in `ExactMap`.
        target_labels: Classes of the target points, as in `ExactMap`.
        cost: A name of `monge.geometry.COSTS`, or a function as in `monge.geometry.PointCloud`.
        random_state: Seed of the points that are drawn from a named distribution.
        generator: Their source of randomness as torch has it, instead of ``random_state``.
        epsilon: Strength of the entropy, in units of the cost, or `monge.relative` to the mean cost; None is
            ``relative(0.05)``.
        eta: Price of classes, in units of the cost, or `monge.relative`; None is ``relative(0.1)``.
        smoothing: The share $\delta$.
        tol: Mass that the last step may move, in L1, relative to the whole; None is 1e-5.
        max_iter: Limit of the number of steps.

    Attributes:
        coupling_: The plan, a `monge.coupling.DenseCoupling`.
        map_: The map, a `monge.coupling.TransportMap`.
        solution_: The plan with the measurements of its convergence, a `ClassSolution`.
        n_iter_: How many entropic problems were solved.
        n_features_in_: The number of features d.

    Warns:
        ConvergenceWarning: If `fit` stops before its tolerance.

    Example:
        >>> import numpy as np
        >>> from monge.adapt import ClassRegularisedMap
        >>> X, y = np.array([[0.0], [0.1], [1.0], [1.1]]), [0, 0, 1, 1]
        >>> adapted = ClassRegularisedMap(target=X + 0.4, epsilon=0.3, eta=1.0).fit(X, y)
        >>> adapted.solution_.status.ok
        True

    Source: Courty, Flamary, Tuia, Domain adaptation with regularized optimal transport (2014); Courty, Flamary, Tuia,
        Rakotomamonjy, Optimal transport for domain adaptation, arXiv:1507.00504.
    """

    _: KW_ONLY
    epsilon: float | Relative | None = None
    eta: float | Relative | None = None
    smoothing: float = 0.01
    tol: float | None = None
    max_iter: int = 300

    def __sklearn_tags__(self) -> Tags:
        """It needs classes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _fitted(self, x: Tensor, target: Tensor, labels: Tensor | None, forbidden: Tensor | None) -> TransportMap:
        if labels is None:
            raise InputError(
                "ClassRegularisedMap requires y to be passed, but the target y is None: pass the classes of the "
                "source, with -1 where they are not known, or use EntropicMap."
            )
        problem = Linear(geometry_between(x, target, self.cost, forbidden), epsilon=or_default(self.epsilon))
        self.solution_ = solve_by_class(
            problem, labels, eta=self.eta, smoothing=self.smoothing, tol=self.tol, max_iter=self.max_iter
        )
        self.n_iter_ = self.solution_.iterations
        if not self.solution_.status.ok:
            warnings.warn(
                f"{self.solution_.status.value} The last step moved {float(self.solution_.change):.2e} of the mass.",
                ConvergenceWarning,
                stacklevel=3,
            )
        plan = self.solution_.coupling._replace(geometry=cost_between(x, target, self.cost))
        return TransportMap(plan, "nearest")

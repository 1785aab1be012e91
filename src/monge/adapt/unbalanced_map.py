"""Domain adaptation by plans that may leave mass behind."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from .entropic_map import EntropicMap

__all__ = ["UnbalancedMap"]


@dataclass(eq=False, repr=False)
class UnbalancedMap(EntropicMap):
    r"""The map of an entropic plan whose marginals may be missed at a price: for outliers and classes of other sizes.

    `fit` solves $\min_P \langle C, P\rangle + \epsilon\,\mathrm{KL}(P | a \otimes b) + \rho_1\,\mathrm{KL}(P1 | a) +
    \rho_2\,\mathrm{KL}(P^\top 1 | b)$ with equal weights a and b. A map says where the mass of a point goes if it
    leaves: ``coupling_.marginals()`` says how much does. All else is as in `EntropicMap`.

    Args:
        target: The points to go to, or the name of a distribution, as in `ExactMap`.
        target_labels: Classes of the target points, as in `ExactMap`.
        cost: A name of `monge.geometry.COSTS`, or a function as in `monge.geometry.PointCloud`.
        random_state: Seed of the points that are drawn from a named distribution.
        generator: Their source of randomness as torch has it, instead of ``random_state``.
        epsilon: Strength of the entropy, in units of the cost, or `monge.relative` to the mean cost; None is
            ``relative(0.05)``.
        method: How new points move, ``"barycentric"`` or ``"nearest"``; None as in `EntropicMap`.
        solver: How to solve; None chooses, see `monge.explain`.
        rho: Price of missing a marginal, in units of the cost, or a pair of prices for source and target. A small price
            lets far points stay behind.
        penalty: How a marginal may be missed: ``"kl"``, or another name of `monge.problem.PENALTIES`.

    Attributes:
        coupling_: The plan, a `monge.coupling.Coupling`.
        map_: The map, a `monge.coupling.TransportMap`.
        n_features_in_: The number of features d.

    Example:
        >>> import numpy as np
        >>> from monge.adapt import UnbalancedMap
        >>> X = np.array([[0.0], [1.0], [50.0]])
        >>> adapted = UnbalancedMap(target=[[0.2], [1.2]], epsilon=0.01, rho=1.0).fit(X)
        >>> adapted.transform([[0.0], [1.0]]).round(1)  # the outlier pushes nobody away
        array([[0.2],
               [1.2]])

    Source: Chizat, Peyre, Schmitzer, Vialard, Scaling algorithms for unbalanced transport problems, arXiv:1607.05816;
        Pooladian, Niles-Weed, Entropic estimation of optimal transport maps, arXiv:2109.12004.
    """

    _: KW_ONLY
    rho: float | tuple[float, float] = 1.0
    penalty: str = "kl"

    def _conditions(self) -> dict[str, Any]:
        return {"rho": self.rho, "penalty": self.penalty}

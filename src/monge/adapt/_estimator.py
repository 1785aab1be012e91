"""What all estimators share: two data sets, their labels, and the map that is fitted between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import Tensor
from typing_extensions import Self

from monge._checks import check_choice
from monge.coupling import Coupling, DenseCoupling, TransportMap
from monge.errors import InputError, ShapeError
from monge.geometry import CostMatrix, Geometry, cost_between
from monge.problem import Linear
from monge.solver import DualSolution, Solver, warned_solution

from .class_regularised import UNKNOWN

_FLOATS: Any = (np.float64, np.float32)
# Distributions that a target may be named by, and how to draw from them.
_DISTRIBUTIONS = {"normal": torch.randn, "uniform": torch.rand}


@dataclass(eq=False, repr=False)
class TransportEstimator(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """A map to a target, fitted on a source.

    The target is a parameter of the estimator, and the source is what it is fitted on. So `fit`, pipelines, searches
    over parameters and cross-validation keep scikit-learn's signatures, and only the source is ever split.
    """

    target: Any = "normal"
    _: KW_ONLY
    target_labels: Any = None
    cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean"
    random_state: Any = None
    generator: torch.Generator | None = None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the plan from the source to the target.

        Args:
            X: The source, (n, d).
            y: The classes of the source points, (n,); -1 where a class is not known. They are needed if
                ``target_labels`` are given, and for `ClassRegularisedMap`.

        Returns:
            The estimator.

        Raises:
            InputError: If a parameter or an array has a wrong value.
            ShapeError: If source and target have different numbers of features.
            InfeasibleError: If target labels leave no plan with equal weights; `UnbalancedMap` has one.
        """
        x = self._points(X, reset=True)
        target = self._target_points(x)
        with torch.no_grad():
            self.map_ = self._fitted(x, target, *self._labels(y, len(x), len(target)))
        self.coupling_: Coupling = self.map_.coupling
        return self

    def transform(self, X: Any) -> Any:
        """Move points of the source space, seen or not, to the target.

        Args:
            X: Points (k, d).

        Returns:
            As many points: an array, or a tensor without a gradient if X is a tensor.
        """
        check_is_fitted(self)
        return self._moved(X, self.map_)

    def inverse_transform(self, X: Any) -> Any:
        """Move points of the target space back to the source, by the map of the transposed plan.

        Args:
            X: Points (k, d).

        Returns:
            As many points, of the kind of X.
        """
        check_is_fitted(self)
        return self._moved(X, self.map_.inverse)

    def _moved(self, X: Any, move: TransportMap) -> Any:
        points = self._points(X, reset=False)
        with torch.no_grad():
            moved = move(points.to(move.coupling.device, move.coupling.dtype)).to(points)
        return moved if isinstance(X, Tensor) else moved.cpu().numpy()

    @abstractmethod
    def _fitted(self, x: Tensor, target: Tensor, labels: Tensor | None, forbidden: Tensor | None) -> TransportMap:
        """The map between two clouds, given classes of the first and pairs that must not meet."""

    # ------------------------------------------------------------------ from arrays to tensors

    def _points(self, X: Any, *, reset: bool) -> Tensor:
        checked = validate_data(self, _in_numpy(X), dtype=_FLOATS, reset=reset)
        return torch.tensor(checked, device=X.device if isinstance(X, Tensor) else None)

    def _target_points(self, x: Tensor) -> Tensor:
        if isinstance(self.target, str):
            check_choice("target", self.target, _DISTRIBUTIONS)
            source = self._source_of_randomness()
            drawn = _DISTRIBUTIONS[self.target](x.shape, generator=source, device=source.device, dtype=torch.float64)
            return drawn.to(x)
        target = torch.tensor(check_array(_in_numpy(self.target), dtype=_FLOATS, input_name="target")).to(x)
        if target.shape[1] != x.shape[1]:
            raise ShapeError(
                f"target must have the features of X, but has {target.shape[1]} and X has {x.shape[1]}: bring both "
                "into one space first."
            )
        return target

    def _source_of_randomness(self) -> torch.Generator:
        if self.generator is None:
            return torch.Generator().manual_seed(int(check_random_state(self.random_state).randint(2**31)))
        if self.random_state is not None:
            raise InputError(
                f"Give either random_state or generator, but got random_state={self.random_state!r} and a generator: "
                "both decide which points are drawn."
            )
        return self.generator

    def _labels(self, y: Any, n: int, m: int) -> tuple[Tensor | None, Tensor | None]:
        """The classes of the source as numbers, and the pairs of points of different classes."""
        if y is None:
            if self.target_labels is not None:
                raise InputError(
                    "target_labels forbid pairs of different classes, but y is None: pass the classes of the source "
                    "to fit, or leave target_labels out."
                )
            return None, None
        if self.target_labels is None and not self.__sklearn_tags__().target_tags.required:
            return None, None
        given = [column_or_1d(_in_numpy(y))]
        check_consistent_length(given[0], np.empty(n))
        if self.target_labels is not None:
            given.append(column_or_1d(_in_numpy(self.target_labels)))
            if len(given[1]) != m:
                raise ShapeError(
                    f"target_labels must hold one class for each of the {m} target points, but holds {len(given[1])}: "
                    "write -1 where a class is not known."
                )
        found = torch.tensor(_numbered(np.concatenate(given)))
        labels, of_target = found[:n], found[n:]
        if not len(of_target):
            return labels, None
        known = (labels != UNKNOWN)[:, None] & (of_target != UNKNOWN)
        return labels, known & (labels[:, None] != of_target)


def _in_numpy(array: Any) -> Any:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array


def _numbered(classes: np.ndarray) -> np.ndarray:
    """Classes as numbers from zero, and -1 where the class is -1."""
    names, numbers = np.unique(classes, return_inverse=True)
    unknown = names == UNKNOWN if names.dtype.kind in "iuf" else np.zeros(len(names), bool)
    return np.where(unknown[numbers], UNKNOWN, numbers)


def geometry_between(x: Tensor, y: Tensor, cost: Any, forbidden: Tensor | None) -> Geometry:
    """The cost of all pairs, as a matrix if some of them must not meet."""
    cloud = cost_between(x, y, cost)
    if forbidden is None or not bool(forbidden.any()):
        return cloud
    return CostMatrix(cloud.dense().masked_fill(forbidden.to(x.device), torch.inf))


def map_of(problem: Linear, solver: Solver | None, cloud: Geometry, method: str | None) -> TransportMap:
    """The map of the optimal plan.

    Where the cost of the problem says nothing of new points, the plan alone is kept, as a plan between the points of
    ``cloud``: its map moves a point as the nearest source point moves.
    """
    solution = warned_solution(problem, solver)
    P = solution.coupling
    if isinstance(problem.geometry, CostMatrix):
        return TransportMap(DenseCoupling._make(matrix=P.dense(), geometry=cloud), method)
    if isinstance(solution, DualSolution) and not problem.entropic and method in (None, "brenier"):
        return TransportMap(P, "brenier", (solution.f, solution.g))
    return TransportMap(P, method)

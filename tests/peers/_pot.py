"""The functions of POT by Monge alone: POT's names, arguments, layouts and answers.

Settings of POT's algorithms (``numItermax``, ``stopThr``, ``method``, ``verbose`` and the like) are taken and change
nothing. Every value is certified: a solver that misses its tolerance is an error here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import monge
from monge import AtMost, Gaussian, Linear, solve
from monge import adapt as estimators
from monge import sliced as slices
from monge.geometry import CostMatrix, Geometry, Grid, PointCloud, cost_between
from monge.geometry import Line as OnLine
from monge.problem import Problem, Referenced, SparseLinear
from monge.solver import Auto, LowRank, Newton, Solution

_ORDERS = {"sqeuclidean": 2.0, "euclidean": 1.0, "cityblock": 1.0}


def _tensor(given: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(given)) if not isinstance(given, torch.Tensor) else given


def _like(found: Any, given: Any) -> Any:
    """The answer in the kind of what was given: NumPy for NumPy."""
    if isinstance(found, torch.Tensor) and not isinstance(given, torch.Tensor):
        return found.detach().numpy()[()]
    return found


def _weights(given: Any, count: int, like: torch.Tensor) -> torch.Tensor:
    """POT takes None and an empty list for equal weights."""
    if given is None or len(given) == 0:
        return torch.full((count,), 1 / count, dtype=like.dtype)
    return _tensor(given).to(like.dtype)


def _certified(problem: Problem) -> Solution:
    """The solution, whose own measurement must say that it is one."""
    entropic = isinstance(problem, Referenced) or (isinstance(problem, Linear) and problem.entropic)
    solution = solve(problem, Auto(tol=1e-9 if problem.dtype == torch.float64 else None) if entropic else None)
    if not solution.report.status.ok and entropic:
        solution = solve(problem, Newton(tol=1e-9 if problem.dtype == torch.float64 else 1e-4))
    assert solution.report.status.ok, solution.report
    return solution


def _linear(a: Any, b: Any, M: Any, **conditions: Any) -> Linear:
    cost = _tensor(M)
    n, m = cost.shape[-2:]
    return Linear.between(CostMatrix(cost), None, _weights(a, n, cost), _weights(b, m, cost), **conditions)


def dist(x1: Any, x2: Any = None, metric: str = "sqeuclidean", **_: Any) -> Any:
    x = _tensor(x1)
    return _like(cost_between(x, x if x2 is None else _tensor(x2), metric).dense(), x1)


def unif(n: int) -> Any:
    return np.full(n, 1 / n)


def emd(a: Any, b: Any, M: Any, log: bool = False, **_: Any) -> Any:
    solution = _certified(_linear(a, b, M))
    plan = _like(solution.coupling.dense(), M)
    if not log:
        return plan
    return plan, {"cost": _like(solution.value, M), "u": _like(solution.f, M), "v": _like(solution.g, M)}


def emd2(a: Any, b: Any, M: Any, **_: Any) -> Any:
    return _like(_certified(_linear(a, b, M)).value, M)


def _on_line(x_a: Any, x_b: Any, a: Any, b: Any, metric: str, p: float) -> Linear:
    u, v = _tensor(x_a).flatten(), _tensor(x_b).flatten()
    order = p if metric == "minkowski" else _ORDERS[metric]
    return Linear(OnLine(u, v, order), _weights(a, len(u), u), _weights(b, len(v), v))


def emd_1d(x_a: Any, x_b: Any, a: Any = None, b: Any = None, metric: str = "sqeuclidean", p: float = 1.0) -> Any:
    return _like(_certified(_on_line(x_a, x_b, a, b, metric, p)).coupling.dense(), x_a)


def emd2_1d(x_a: Any, x_b: Any, a: Any = None, b: Any = None, metric: str = "sqeuclidean", p: float = 1.0) -> Any:
    return _like(_certified(_on_line(x_a, x_b, a, b, metric, p)).value, x_a)


def wasserstein_1d(u_values: Any, v_values: Any, u_weights: Any = None, v_weights: Any = None, p: float = 1) -> Any:
    """Columns are problems, and the power is not rooted."""
    u, v, a, b = (
        side if side is None else torch.as_tensor(np.asarray(side).T.copy())
        for side in (u_values, v_values, u_weights, v_weights)
    )
    # One point in each of several columns looks like one column of points to `Line`; a last axis tells them apart.
    u, v = u[..., None], v[..., None]
    return _like(_certified(Linear(OnLine(u, v, float(p)), a, b)).value, u_values)


def sinkhorn(a: Any, b: Any, M: Any, reg: float, **_: Any) -> Any:
    return _like(_certified(_linear(a, b, M, epsilon=reg)).coupling.dense(), M)


def sinkhorn2(a: Any, b: Any, M: Any, reg: float, **_: Any) -> Any:
    return _like(_certified(_linear(a, b, M, epsilon=reg)).coupling.transport_cost(), M)


sinkhorn_log = sinkhorn


def _empirical(X_s: Any, X_t: Any, reg: float, a: Any, b: Any, metric: str) -> Solution:
    x, y = _tensor(X_s), _tensor(X_t)
    weights = (_weights(side, len(points), x) for side, points in ((a, x), (b, y)))
    return _certified(Linear.between(x, y, *weights, cost=metric, epsilon=reg))


def empirical_sinkhorn(
    X_s: Any, X_t: Any, reg: float, a: Any = None, b: Any = None, metric: str = "sqeuclidean", **_: Any
) -> Any:
    return _like(_empirical(X_s, X_t, reg, a, b, metric).coupling.dense(), X_s)


def empirical_sinkhorn2(
    X_s: Any, X_t: Any, reg: float, a: Any = None, b: Any = None, metric: str = "sqeuclidean", **_: Any
) -> Any:
    return _like(_empirical(X_s, X_t, reg, a, b, metric).coupling.transport_cost(), X_s)


def empirical_sinkhorn_divergence(
    X_s: Any, X_t: Any, reg: float, a: Any = None, b: Any = None, metric: str = "sqeuclidean", **_: Any
) -> Any:
    """POT's is a difference of costs without their entropies, cut at zero; `monge.divergence` is not this."""
    cross, first, second = (
        empirical_sinkhorn2(*points, reg, *weights, metric)
        for points, weights in (((X_s, X_t), (a, b)), ((X_s, X_s), (a, a)), ((X_t, X_t), (b, b)))
    )
    return np.maximum(0, cross - (first + second) / 2)


def _referenced(problem: Linear, reference: torch.Tensor) -> Solution:
    return _certified(Referenced(problem, reference))


def sinkhorn_unbalanced(
    a: Any, b: Any, M: Any, reg: float, reg_m: Any, reg_type: str = "kl", c: Any = None, **_: Any
) -> Any:
    problem = _linear(a, b, M, epsilon=reg, rho=reg_m)
    if reg_type == "entropy":
        c = np.ones(np.shape(M))
    solution = _certified(problem) if c is None else _referenced(problem, _tensor(c).to(problem.dtype))
    return _like(solution.coupling.dense(), M)


def mm_unbalanced(a: Any, b: Any, M: Any, reg_m: Any, div: str = "kl", **_: Any) -> Any:
    """Without entropy: exact here, where POT's iteration approaches it."""
    return _like(_certified(_linear(a, b, M, rho=reg_m, penalty=div)).coupling.dense(), M)


def _at_most(a: Any, b: Any, M: Any, m: float | None) -> Linear:
    mass = min(float(np.sum(a)), float(np.sum(b))) if m is None else m
    return _linear(a, b, M, mass=mass)


def partial_wasserstein(a: Any, b: Any, M: Any, m: float | None = None, **_: Any) -> Any:
    return _like(_certified(_at_most(a, b, M, m)).coupling.dense(), M)


def partial_wasserstein2(a: Any, b: Any, M: Any, m: float | None = None, **_: Any) -> Any:
    return _like(_certified(_at_most(a, b, M, m)).value, M)


def entropic_partial_wasserstein(a: Any, b: Any, M: Any, reg: float, m: float | None = None, **_: Any) -> Any:
    """POT's entropy is relative to ones, which makes another plan where marginals are bounds."""
    cost, mass = _tensor(M), min(float(np.sum(a)), float(np.sum(b))) if m is None else m
    problem = Linear(CostMatrix(cost), AtMost(_tensor(a)), AtMost(_tensor(b)), epsilon=reg, mass=mass)
    return _like(_referenced(problem, torch.ones_like(cost)).coupling.dense(), M)


def barycenter(A: Any, M: Any, reg: float, weights: Any = None, **_: Any) -> Any:
    return monge.barycenter_on(CostMatrix(_tensor(M)), A.T, weights, epsilon=reg, debiased=False, tol=1e-8)


def barycenter_debiased(A: Any, M: Any, reg: float, weights: Any = None, **_: Any) -> Any:
    return monge.barycenter_on(CostMatrix(_tensor(M)), A.T, weights, epsilon=reg, tol=1e-7)


def _unit_square(A: Any) -> Geometry:
    """POT's pixels lie in the unit square."""
    return Grid(tuple(torch.linspace(0, 1, size, dtype=_tensor(A).dtype) for size in A.shape[1:]))


def convolutional_barycenter2d(A: Any, reg: float, weights: Any = None, **_: Any) -> Any:
    bins = A.reshape(len(A), -1)
    found = monge.barycenter_on(_unit_square(A), bins, weights, epsilon=reg, debiased=False, tol=1e-8)
    return found.reshape(A.shape[1:])


def free_support_barycenter(locations: Any, masses: Any, X_init: Any, weights: Any = None, **_: Any) -> Any:
    """Equal weights of the barycentre, as POT has without its ``b``."""
    return monge.barycenter(list(zip(locations, masses, strict=True)), weights, start=X_init).points


def sliced_wasserstein_distance(
    X_s: Any, X_t: Any, a: Any = None, b: Any = None, n_projections: int = 50, p: float = 2, projections: Any = None
) -> Any:
    theta = None if projections is None else projections.T
    return slices.sliced_wasserstein(X_s, X_t, a, b, p=float(p), slices=n_projections, theta=theta).distance


def max_sliced_wasserstein_distance(
    X_s: Any, X_t: Any, a: Any = None, b: Any = None, n_projections: int = 50, p: float = 2, projections: Any = None
) -> Any:
    theta = None if projections is None else projections.T
    found = slices.sliced_wasserstein(X_s, X_t, a, b, p=float(p), slices=n_projections, theta=theta)
    return found.slices.max() ** (1 / p)


def sliced_wasserstein_sphere(
    X_s: Any, X_t: Any, a: Any = None, b: Any = None, p: float = 2, projections: Any = None
) -> Any:
    frame = None if projections is None else projections.swapaxes(1, 2)
    return slices.spherical_sliced_wasserstein(X_s, X_t, a, b, p=float(p), frame=frame).distance


def bures_wasserstein_distance(ms: Any, mt: Any, Cs: Any, Ct: Any) -> Any:
    return Gaussian(ms, Cs).distance(Gaussian(mt, Ct))


def bures_distance(Cs: Any, Ct: Any) -> Any:
    zero = np.zeros(Cs.shape[-1], Cs.dtype)
    return bures_wasserstein_distance(zero, zero, Cs, Ct)


def bures_wasserstein_mapping(ms: Any, mt: Any, Cs: Any, Ct: Any) -> Any:
    """The matrix and the row that POT applies to rows, x A + b."""
    found = Gaussian(ms, Cs).map_to(Gaussian(mt, Ct))
    return found.matrix.numpy(), found.translation.numpy()


def bures_wasserstein_barycenter(m: Any, C: Any, weights: Any = None, **_: Any) -> Any:
    found = Gaussian(m, C).barycenter(weights)
    return np.asarray(found.mean), np.asarray(found.covariance)


def smooth_ot_dual(a: Any, b: Any, M: Any, reg: float, max_nz: int | None = None, **_: Any) -> Any:
    """(reg / 2) |P|^2: reg is epsilon n m / s^2."""
    cost = _tensor(M)
    epsilon = reg * float(np.sum(a)) ** 2 / cost.numel()
    found = _certified(SparseLinear(_linear(a, b, M, epsilon=epsilon), max_nz))
    return _like(found.coupling.dense(), M)


def solve_semi_dual_entropic(a: Any, b: Any, M: Any, reg: float, method: str = "SAG", **_: Any) -> Any:
    return sinkhorn(a, b, M, reg)


def lowrank_sinkhorn(X_s: Any, X_t: Any, a: Any = None, b: Any = None, rank: int = 2, **_: Any) -> Solution:
    """A plan of that rank with a proved gap; the factors of POT are those of its coupling."""
    x, y = _tensor(X_s), _tensor(X_t)
    return solve(Linear(PointCloud(x, y), _weights(a, len(x), x), _weights(b, len(y), y)), LowRank(rank=rank))


class _Transport:
    """The calls of POT's estimators around one of Monge's."""

    def __init__(self, make: Any, **settings: Any) -> None:
        self.make, self.settings = make, settings

    def fit(self, Xs: Any = None, ys: Any = None, Xt: Any = None, yt: Any = None) -> _Transport:
        self.estimator = self.make(target=Xt, **self.settings).fit(Xs, ys)
        self.coupling_ = self.estimator.coupling_.dense().numpy()
        return self

    def transform(self, Xs: Any = None) -> Any:
        return self.estimator.transform(Xs)


def EMDTransport() -> _Transport:  # noqa: N802 - POT's name
    return _Transport(estimators.ExactMap, method="nearest")


def SinkhornTransport(reg_e: float = 1.0, out_of_sample_map: str = "continuous") -> _Transport:  # noqa: N802
    method = {"continuous": "barycentric", "ferradans": "nearest"}[out_of_sample_map]
    return _Transport(estimators.EntropicMap, epsilon=reg_e, method=method, solver=Auto(tol=1e-9))


def UnbalancedSinkhornTransport(reg_e: float = 1.0, reg_m: float = 0.1) -> _Transport:  # noqa: N802
    return _Transport(estimators.UnbalancedMap, epsilon=reg_e, rho=reg_m, method="nearest", solver=Auto(tol=1e-9))


def SinkhornLpl1Transport(reg_e: float = 1.0, reg_cl: float = 0.1) -> _Transport:  # noqa: N802
    return _Transport(estimators.ClassRegularisedMap, epsilon=reg_e, eta=reg_cl)


bregman = SimpleNamespace(sinkhorn_log=sinkhorn_log)

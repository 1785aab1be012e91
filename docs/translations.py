"""What users of POT and GeomLoss write, and what they write in Monge: one list, which the page shows and a test runs.

Every line is evaluated after ``SETUP``. Where ``tol`` is a number, both sides have the same value up to it, as a share
of the largest number.
"""

# ruff: noqa: E501 - the cells of a table are not broken.

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ABSENT", "GEOMLOSS", "POT", "SETUP", "Line", "table"]

SETUP = """
import warnings
import numpy as np, torch, monge
from monge import AtMost, Gaussian, Linear, couple, solve
from monge.geometry import CostMatrix, Grid, Sum
from monge.geometry import Line as OnLine
from monge.loss import SinkhornLoss
from monge.problem import Referenced, SparseLinear
from monge.solver import LowRank, Sinkhorn
sliced = monge.sliced
rng = np.random.default_rng(0)
x, y = rng.normal(size=(12, 2)), rng.normal(size=(9, 2)) + 0.5
a, b = rng.random(12) + 0.1, rng.random(9) + 0.1
a, b = a / a.sum(), b / b.sum()
b2 = 1.3 * b
M = ((x[:, None] - y) ** 2).sum(-1)
Ms = np.stack([M, 2 * M])
u, v = x[:, 0], y[:, 0]
theta = rng.normal(size=(8, 2))
theta /= np.linalg.norm(theta, axis=1, keepdims=True)
tx, ty, ta, tb, tb2, tt, ones = map(torch.from_numpy, (x, y, a, b, b2, theta, np.ones((12, 9))))
xs, ys = rng.normal(size=(12, 3)), rng.normal(size=(12, 3)) + 1
xs, ys = xs / np.linalg.norm(xs, axis=1)[:, None], ys / np.linalg.norm(ys, axis=1)[:, None]
frames = np.stack([np.linalg.qr(rng.normal(size=(3, 2)))[0] for _ in range(6)])
places = np.linspace(0, 1, 10)
hists = np.exp(-((places - np.array([[0.2], [0.5], [0.7]])) ** 2) / 0.02) + 0.01
hists /= hists.sum(1, keepdims=True)
D = (places[:, None] - places) ** 2
pixels = np.stack([np.outer(hists[0, :8], hists[1, :8]), np.outer(hists[2, 2:], hists[0, 2:])])
pixels /= pixels.sum((1, 2), keepdims=True)
axis = np.linspace(0, 1, 8)
ms, mt, Cs, Ct = np.zeros(2), np.ones(2), np.cov(x.T), np.cov(y.T)
labels = np.arange(12) % 2
tight = Sinkhorn(tol=1e-11, max_iter=20000)
gamma = 1.0
"""


class Line(NamedTuple):
    """One line of the table.

    Args:
        theirs: The call of the peer.
        ours: The line in Monge.
        word: What is different.
        tol: How far both values may be apart, as a share of the largest number; None if they are different things.
        also: Further functions of the peer for the same problem.
    """

    theirs: str
    ours: str
    word: str = ""
    tol: float | None = 1e-6
    also: str = ""


POT = (
    Line(
        "ot.dist(x, y)",
        "monge.geometry.cost_between(tx, ty, 'sqeuclidean').dense()",
        "`PointCloud(x, y)` never becomes a matrix unless you ask",
        also="utils.euclidean_distances utils.dist0 dist_batch",
    ),
    Line("ot.unif(5)", "Linear.between(tx[:5], ty).a", "weights that are left out are equal", also="utils.unif"),
    Line(
        "ot.emd(a, b, M)",
        "couple(CostMatrix(M), a=a, b=b).dense()",
        "a sparse `M` of SciPy is `SparseCost.of(M)`",
        also="lp.emd",
    ),
    Line(
        "ot.emd2(a, b, M)",
        "solve(Linear(CostMatrix(M), a, b)).value",
        "with a measured duality gap in `.report`",
        also="lp.emd2",
    ),
    Line(
        "ot.lp.emd2_lazy(x, y, a, b)",
        "solve(Linear.between(tx, ty, ta, tb)).value",
        also="emd2_lazy",
        tol=None,
        word="the order of POT's arguments changes between versions",
    ),
    Line(
        "ot.emd_1d(u, v, a, b)",
        "couple(OnLine(u, v), a=a, b=b).dense()",
        "`Line(u, v, p)` has the cost $|u-v|^p$",
        also="lp.emd_1d lp.emd_1d_sorted",
    ),
    Line("ot.emd2_1d(u, v, a, b)", "solve(Linear(OnLine(u, v), a, b)).value", also="lp.emd2_1d"),
    Line(
        "ot.wasserstein_1d(u, v, a, b, p=2)",
        "solve(Linear(OnLine(u, v, 2.0), a, b)).value",
        "not rooted; POT's batch is in the columns, Monge's in leading dimensions",
        also="lp.wasserstein_1d",
    ),
    Line(
        "ot.lp.emd_1d_dual(u, v, a, b)",
        "solve(Linear(OnLine(u, v), a, b)).f",
        "potentials up to a constant",
        tol=None,
        also="emd_1d_dual emd_1d_dual_backprop lp.emd_1d_dual_backprop",
    ),
    Line(
        "ot.sinkhorn(a, b, M, 0.5, method='sinkhorn_log', stopThr=1e-12)",
        "couple(CostMatrix(M), a=a, b=b, epsilon=0.5, solver=tight).dense()",
        "the entropy is relative to $a\\otimes b$; the plan is the same",
        also="bregman.sinkhorn bregman.sinkhorn_knopp bregman.sinkhorn_log bregman.greenkhorn "
        "bregman.sinkhorn_stabilized bregman.sinkhorn_epsilon_scaling bregman.screenkhorn",
    ),
    Line(
        "ot.sinkhorn2(a, b, M, 0.5, method='sinkhorn_log', stopThr=1e-12)",
        "couple(CostMatrix(M), a=a, b=b, epsilon=0.5, solver=tight).transport_cost()",
        "$\\langle P, C\\rangle$ without entropy; `solve(...).value` has it",
        also="bregman.sinkhorn2",
    ),
    Line(
        "ot.bregman.empirical_sinkhorn(x, y, 0.5, stopThr=1e-12)",
        "couple(x, y, epsilon=0.5, solver=tight).dense()",
        "streamed",
        also="bregman.empirical_sinkhorn_nystroem lowrank.kernel_nystroem lowrank.sinkhorn_low_rank_kernel",
    ),
    Line(
        "ot.bregman.empirical_sinkhorn2(x, y, 0.5, stopThr=1e-12)",
        "couple(x, y, epsilon=0.5, solver=tight).transport_cost()",
        also="bregman.empirical_sinkhorn_nystroem2 "
        "bregman.empirical_sinkhorn2_geomloss bregman.geomloss bregman.old_geomloss",
    ),
    Line(
        "ot.bregman.empirical_sinkhorn_divergence(x, y, 0.5, stopThr=1e-12)",
        "(lambda s: s(x, y) - s(x, x) / 2 - s(y, y)"
        " / 2)(lambda x, y: couple(x, y, epsilon=0.5, solver=tight).transport_cost())",
        "POT leaves the entropy out of the three values, and cuts at zero; `monge.divergence` keeps it, and is then convex"
        " and smooth",
    ),
    Line(
        "ot.solve(M, a, b, reg=0.5, tol=1e-12).plan",
        "couple(CostMatrix(M), a=a, b=b, epsilon=0.5, solver=tight).dense()",
        also="solvers.solve",
    ),
    Line("ot.solve_sample(x, y, a, b).plan", "couple(x, y, a, b).dense()", also="solvers.solve_sample"),
    Line(
        "ot.solve_batch(Ms, 0.5, tol=1e-10).plan",
        "couple(CostMatrix(Ms), epsilon=0.5, solver=tight).dense()",
        "leading dimensions, everywhere",
        tol=1e-5,
        also="solve_sample_batch batch.solve_batch batch.solve_sample_batch batch.dist_batch"
        " batch.bregman_log_projection_batch batch.bregman_projection_batch batch.loss_linear_batch"
        " batch.loss_linear_samples_batch batch.entropy_batch",
    ),
    Line(
        "ot.unbalanced.sinkhorn_unbalanced(a, b2, M, 0.5, 1.0, stopThr=1e-13, numItermax=5000)",
        "couple(CostMatrix(M), a=a, b=b2, epsilon=0.5, rho=1.0, solver=tight).dense()",
        "`reg_m=(r1, r2)` is `rho=(r1, r2)`",
        also="sinkhorn_unbalanced unbalanced.sinkhorn_knopp_unbalanced "
        "unbalanced.sinkhorn_stabilized_unbalanced unbalanced.sinkhorn_unbalanced_translation_invariant",
    ),
    Line(
        "ot.unbalanced.sinkhorn_unbalanced2(a, b2, M, 0.5, 1.0, stopThr=1e-13, numItermax=5000)",
        "couple(CostMatrix(M), a=a, b=b2, epsilon=0.5, rho=1.0, solver=tight).transport_cost()",
        "`solve(...).terms` has all parts",
        also="sinkhorn_unbalanced2",
    ),
    Line(
        "ot.unbalanced.sinkhorn_unbalanced(a, b2, M, 0.5, 1.0, reg_type='entropy', stopThr=1e-13, numItermax=5000)",
        "solve(Referenced(Linear.between(CostMatrix(M), a=ta, b=tb2, epsilon=0.5, rho=1.0), ones),"
        " tight).coupling.dense()",
        "an entropy relative to ones; `c=R` is `Referenced(..., R)`",
    ),
    Line(
        "ot.unbalanced.mm_unbalanced(a, b2, M, 1.0, div='kl', numItermax=20000)",
        "couple(CostMatrix(M), a=a, b=b2, rho=1.0).dense()",
        "exact here; POT approaches it slowly",
        tol=1e-3,
        also="unbalanced.lbfgsb_unbalanced",
    ),
    Line(
        "ot.unbalanced.mm_unbalanced(a, b2, M, 1.0, div='l2', numItermax=20000)",
        "couple(CostMatrix(M), a=a, b=b2, rho=1.0, penalty='l2').dense()",
        "$\\tfrac\\rho2\\lVert\\cdot\\rVert^2$",
        tol=1e-3,
    ),
    Line(
        "ot.unbalanced.mm_unbalanced2(a, b2, M, 1.0, div='kl', numItermax=20000)",
        "couple(CostMatrix(M), a=a, b=b2, rho=1.0).transport_cost()",
        tol=1e-3,
        also="unbalanced.lbfgsb_unbalanced2 unbalanced._get_loss_unbalanced",
    ),
    Line(
        "ot.partial.partial_wasserstein2(a, b2, M, m=0.6)",
        "couple(CostMatrix(M), a=a, b=b2, mass=0.6).transport_cost()",
        "without dummy points",
    ),
    Line("ot.partial.partial_wasserstein(a, b2, M, m=0.6)", "couple(CostMatrix(M), a=a, b=b2, mass=0.6).dense()"),
    Line(
        "ot.partial.entropic_partial_wasserstein(a, b2, M, 0.5, m=0.6, numItermax=5000)",
        "solve(Referenced(Linear(CostMatrix(M), AtMost(a), AtMost(b2), epsilon=0.5, mass=0.6), ones),"
        " tight).coupling.dense()",
        "POT's entropy is relative to ones; `couple(..., epsilon=0.5, mass=0.6)` takes it"
        " relative to $a\\otimes b$, which is another plan",
        also="partial.entropic_partial_wasserstein_logscale",
        tol=1e-5,
    ),
    Line(
        "ot.partial.partial_wasserstein_1d(u, v, 5)[2]",
        "sliced.partial_cost(u, v, mass=5.0, p=1.0)",
        "all masses at once: `sliced.partial_profile(u, v)`; POT divides by the number of points",
        tol=None,
    ),
    Line(
        "ot.partial.partial_wasserstein_lagrange(a, b, M, reg_m=2.0)",
        "couple(CostMatrix(M), a=a, b=b, rho=1.0, penalty='tv').dense()",
        "a pair is matched if it costs less than $2\\rho$, which is `reg_m`",
        tol=None,
    ),
    Line(
        "ot.smooth.smooth_ot_dual(a, b, M, gamma, stopThr=1e-14, numItermax=20000)",
        "solve(SparseLinear(Linear(CostMatrix(M), a, b, epsilon=gamma / M.size))).coupling.dense()",
        "$\\epsilon$ is `reg` times mass² by $nm$; `max_nz=k` is `nonzeros=k`",
        tol=1e-3,
        also="smooth.smooth_ot_semi_dual smooth.solve_dual smooth.solve_semi_dual smooth.get_plan_from_dual"
        " smooth.get_plan_from_semi_dual smooth.SquaredL2 smooth.SparsityConstrained smooth.NegEntropy",
    ),
    Line(
        "ot.bregman.barycenter(hists.T, D, 0.05, stopThr=1e-12)",
        "monge.barycenter_on(CostMatrix(D), hists, epsilon=0.05, debiased=False, tol=1e-9)",
        "rows are histograms; debiased by default",
        tol=1e-5,
        also="barycenter bregman.barycenter_sinkhorn bregman.barycenter_stabilized",
    ),
    Line(
        "ot.bregman.barycenter_debiased(hists.T, D, 0.05, stopThr=1e-10)",
        "monge.barycenter_on(CostMatrix(D), hists, epsilon=0.05, tol=1e-6)",
        tol=1e-3,
    ),
    Line(
        "ot.bregman.convolutional_barycenter2d(pixels, 0.05, stopThr=1e-12)",
        "monge.barycenter_on(Grid((axis, axis)), pixels.reshape(2, -1), epsilon=0.05, debiased=False, tol=1e-9)"
        ".reshape(8, 8)",
        "POT's pixels lie in the unit square; `Grid((8, 8))` counts pixels",
        tol=1e-5,
    ),
    Line(
        "ot.bregman.convolutional_barycenter2d_debiased(pixels, 0.05, stopThr=1e-10)",
        "monge.barycenter_on(Grid((axis, axis)), pixels.reshape(2, -1), epsilon=0.05, tol=1e-6).reshape(8, 8)",
        tol=1e-3,
    ),
    Line(
        "ot.lp.barycenter(hists.T, D)",
        "monge.barycenter_on(CostMatrix(D), hists, epsilon=0)",
        "proved by its duality gap",
        tol=1e-6,
    ),
    Line(
        "ot.barycenter_unbalanced(hists.T, D, 0.05, 1.0, numItermax=50000, stopThr=1e-14)",
        "monge.barycenter_on(CostMatrix(D), hists, epsilon=0.05, rho=1.0, tol=1e-12, max_iter=50000)",
        tol=1e-6,
        also="unbalanced.barycenter_unbalanced unbalanced.barycenter_unbalanced_sinkhorn"
        " unbalanced.barycenter_unbalanced_stabilized",
    ),
    Line(
        "ot.lp.free_support_barycenter([x, y], [np.ones(12) / 12, np.ones(9) / 9], x[:6])",
        "monge.barycenter([x, y], start=x[:6]).points",
        "`b` is `point_weights`; ends at a local minimum, and says whether",
        tol=None,
        also="bregman.free_support_sinkhorn_barycenter lp.ot_barycenter_energy",
    ),
    Line(
        "ot.lp.free_support_barycenter_generic_costs([x, y], [np.ones(12) / 12, np.ones(9) / 9], x[:6], np.linalg.norm)",
        "monge.barycenter([x, y], start=x[:6], cost='euclidean').points",
        "any cost that `couple` takes",
        tol=None,
        also="lp.generalized_free_support_barycenter solve_bary_sample solvers.solve_bary_sample",
    ),
    Line(
        "ot.sliced_wasserstein_distance(x, y, a, b, projections=theta.T)",
        "sliced.sliced_wasserstein(x, y, a, b, theta=theta).distance",
        "directions are rows",
        also="sliced.sliced_wasserstein_distance sliced.get_random_projections",
    ),
    Line(
        "ot.max_sliced_wasserstein_distance(x, y, a, b, projections=theta.T)",
        "sliced.sliced_wasserstein(x, y, a, b, theta=theta).slices.max() ** 0.5",
        "`sliced.max_sliced_wasserstein` climbs from there",
        also="sliced.max_sliced_wasserstein_distance",
    ),
    Line(
        "ot.sliced_wasserstein_sphere(xs, ys, n_projections=6, projections=frames)",
        "sliced.spherical_sliced_wasserstein(xs, ys, frame=frames.swapaxes(1, 2)).distance",
        "circles of length one; POT's pairs are columns, Monge's rows",
        tol=1e-3,
        also="sliced.sliced_wasserstein_sphere sliced.get_projections_sphere sliced.projection_sphere_to_circle"
        " utils.get_coordinate_circle",
    ),
    Line(
        "ot.sliced_wasserstein_sphere_unif(xs)",
        "sliced.sphere.spherical_uniformity(xs)",
        "rooted or not",
        tol=None,
        also="sliced.sliced_wasserstein_sphere_unif",
    ),
    Line(
        "ot.wasserstein_circle(u % 1, v % 1, a, b, p=2)[0]",
        "sliced.circular_wasserstein(u % 1, v % 1, a, b) ** 2",
        "POT does not root it",
        also="lp.wasserstein_circle binary_search_circle lp.binary_search_circle",
        tol=1e-5,
    ),
    Line(
        "ot.linear_circular_ot(u % 1, v % 1)",
        "sliced.sphere.linear_circular_wasserstein(u % 1, v % 1) ** 2",
        also="lp.linear_circular_ot linear_sliced_wasserstein_sphere sliced.linear_sliced_wasserstein_sphere",
        tol=None,
        word="POT's is not exact for unequal numbers of points",
    ),
    Line(
        "ot.semidiscrete_wasserstein2_unif_circle(u % 1)",
        "sliced.sphere.circular_uniformity(u % 1)",
        also="lp.semidiscrete_wasserstein2_unif_circle",
        tol=None,
    ),
    Line(
        "ot.expected_sliced_plan(x, y[:9], projections=theta.T)",
        "sliced.expected_sliced_plan(tx, ty, slicer=sliced.LinearSlicer(tt)).dense()",
        tol=None,
        also="sliced.expected_sliced_plan sliced.sliced_plans",
    ),
    Line(
        "ot.min_sliced_transport_plan(x, y, projections=theta.T)",
        "sliced.best_sliced_plan(tx, ty, slicer=sliced.LinearSlicer(tt)).dense()",
        tol=None,
        also="sliced.min_sliced_transport_plan",
    ),
    Line(
        "ot.unbalanced_sliced_ot(x, y, 1.0)",
        "sliced.unbalanced_sliced_wasserstein(tx, ty, slicer=sliced.LinearSlicer(tt), rho=1.0)[0]",
        tol=None,
        also="unbalanced.unbalanced_sliced_ot",
    ),
    Line(
        "ot.sliced_unbalanced_ot(x, y, 1.0)",
        "sliced.estimate(tx, ty, slicer=sliced.LinearSlicer(tt), line=sliced.Unbalanced(1.0)).cost",
        tol=None,
        also="unbalanced.sliced_unbalanced_ot uot_1d unbalanced.uot_1d",
    ),
    Line(
        "ot.gaussian.bures_wasserstein_distance(ms, mt, Cs, Ct)",
        "Gaussian(ms, Cs).distance(Gaussian(mt, Ct))",
        also="gaussian.bures_wasserstein_distance_hd",
    ),
    Line(
        "ot.gaussian.bures_distance(Cs, Ct)",
        "Gaussian(0 * ms, Cs).distance(Gaussian(0 * ms, Ct))",
        also="gmm.dist_bures_squared",
    ),
    Line(
        "ot.gaussian.bures_wasserstein_mapping(ms, mt, Cs, Ct)[0]",
        "Gaussian(ms, Cs).map_to(Gaussian(mt, Ct)).matrix",
        also="gaussian.bures_wasserstein_mapping_hd",
    ),
    Line(
        "ot.gaussian.bures_wasserstein_barycenter(np.stack([ms, mt]), np.stack([Cs, Ct]), eps=1e-12)[1]",
        "Gaussian(np.stack([ms, mt]), np.stack([Cs, Ct])).barycenter().covariance",
        also="gaussian.bures_barycenter_fixpoint gaussian.bures_barycenter_gradient_descent",
    ),
    Line(
        "ot.gaussian.empirical_bures_wasserstein_distance(x, y, reg=0)",
        "Gaussian.of(x).distance(Gaussian.of(y))",
        also="gaussian.empirical_bures_wasserstein_distance_hd",
    ),
    Line(
        "ot.gaussian.empirical_bures_wasserstein_mapping(x, y, reg=0)[0]",
        "Gaussian.of(x).map_to(Gaussian.of(y)).matrix",
        also="gaussian.empirical_bures_wasserstein_mapping_hd da.LinearTransport",
    ),
    Line(
        "ot.gaussian.empirical_bures_wasserstein_barycenter([x, y], reg=0)",
        "Gaussian(np.stack([ms, mt]), np.stack([Cs, Ct])).barycenter()",
        tol=None,
        word="by `Gaussian.of` of each cloud",
    ),
    Line(
        "ot.da.EMDTransport().fit(Xs=x, Xt=y).transform(Xs=x)",
        "couple(x, y).map(x)",
        "`monge.adapt.ExactMap(target=y).fit(x)` is the estimator",
        also="da.BaseTransport da.distribution_estimation_uniform",
    ),
    Line(
        "ot.da.SinkhornTransport(reg_e=0.5, tol=1e-12).fit(Xs=x, Xt=y).transform(Xs=x)",
        "couple(x, y, epsilon=0.5, solver=tight).map(x)",
        "with `out_of_sample_map='ferradans'`, `method='nearest'`",
    ),
    Line(
        "ot.da.UnbalancedSinkhornTransport(reg_e=0.5, reg_m=1.0, max_iter=5000).fit(Xs=x, Xt=y).coupling_",
        "couple(x, y, epsilon=0.5, rho=1.0, solver=tight).dense()",
        "or `monge.adapt.UnbalancedMap`",
        tol=1e-4,
    ),
    Line(
        "ot.da.SinkhornLpl1Transport(reg_e=0.5, reg_cl=0.1).fit(Xs=x, ys=labels, Xt=y).coupling_",
        "monge.adapt.solve_by_class(Linear.between(tx, ty, epsilon=0.5), torch.tensor(labels), eta=0.1).coupling.dense()",
        "another price of classes: square roots of their shares, a stationary plan that is measured",
        tol=None,
        also="sinkhorn_lpl1_mm da.sinkhorn_lpl1_mm da.SinkhornL1l2Transport da.sinkhorn_l1l2_gl",
    ),
    Line(
        "ot.stochastic.solve_semi_dual_entropic(a, b, M, 0.5, 'SAG', numItermax=20000)",
        "couple(CostMatrix(M), a=a, b=b, epsilon=0.5).dense()",
        "the same optimum, to a tolerance that is met",
        tol=0.05,
        also="stochastic.sag_entropic_transport stochastic.averaged_sgd_entropic_transport stochastic.solve_dual_entropic"
        " stochastic.sgd_entropic_regularization stochastic.c_transform_entropic stochastic.plan_dual_entropic"
        " stochastic.plan_dual_quadratic stochastic.loss_dual_entropic stochastic.loss_dual_quadratic"
        " stochastic.batch_grad_dual stochastic.coordinate_grad_semi_dual",
    ),
    Line(
        "ot.lowrank_sinkhorn(x, y, a, b, rank=3)",
        "solve(Linear.between(tx, ty, ta, tb), LowRank(rank=3)).coupling",
        "local minima differ; Monge's has a proved gap",
        tol=None,
        also="lowrank.lowrank_sinkhorn factored_optimal_transport"
        " factored.factored_optimal_transport lowrank.compute_lr_sqeuclidean_matrix",
    ),
    Line("ot.gromov.gwloss", "sliced.gromov_cost(couple(tx[:9], ty), tx[:9], ty)", "takes clouds", tol=None),
)

GEOMLOSS = (
    Line(
        "SamplesLoss('sinkhorn', p=2, blur=0.5, scaling=0.95, backend='tensorized')(tx, ty)",
        "SinkhornLoss(epsilon=2 * 0.5**2, scale=0.5, reduction='none')(tx, ty)",
        "its cost is $\\tfrac12\\lVert x-y\\rVert^2$ and its $\\epsilon$ is `blur`²",
        tol=1e-3,
    ),
    Line(
        "SamplesLoss('sinkhorn', p=1, blur=0.5, scaling=0.95, backend='tensorized')(tx, ty)",
        "SinkhornLoss(epsilon=0.5, cost='euclidean', reduction='none')(tx, ty)",
        "$\\epsilon$ is `blur`",
        tol=1e-3,
    ),
    Line(
        "SamplesLoss('sinkhorn', p=2, blur=0.5, reach=1.0, scaling=0.95, backend='tensorized')(tx, ty)",
        "SinkhornLoss(epsilon=2 * 0.5**2, rho=2 * 1.0**2, scale=0.5, reduction='none')(tx, ty)",
        "$\\rho$ is `reach`² for its cost, twice that here",
        tol=1e-2,
    ),
    Line(
        "SamplesLoss('sinkhorn', p=2, blur=0.5, debias=False, scaling=0.95, backend='tensorized')(tx, ty)",
        "solve(Linear.between(tx, ty, epsilon=2 * 0.5**2)).value / 2",
        "the value with its entropy, halved",
        tol=1e-3,
    ),
)

# What has no line: who it belongs to, and why. Full names, so that a new function of POT is noticed.
ABSENT: dict[str, str] = {
    "Not yet: transport between spaces (Gromov-Wasserstein, fused, unbalanced, co-optimal), of which Monge has the sliced"
    " forms in `monge.sliced.gromov`": """
        gromov.* gromov gromov_wasserstein gromov_wasserstein2 gromov_barycenters fused_gromov_wasserstein
        fused_gromov_wasserstein2 solve_gromov solvers.solve_gromov lowrank_gromov_wasserstein_samples solve_gromov_batch
        batch.solve_gromov_batch batch.loss_quadratic_batch batch.loss_quadratic_samples_batch batch.tensor_batch
        batch.proximal_bregman_log_plan_batch partial.gwgrad_partial partial.gwloss_partial
        partial.partial_gromov_wasserstein partial.partial_gromov_wasserstein2 partial.entropic_partial_gromov_wasserstein
        partial.entropic_partial_gromov_wasserstein2 coot.co_optimal_transport coot.co_optimal_transport2
        gaussian.gaussian_gromov_wasserstein_distance gaussian.gaussian_gromov_wasserstein_mapping
        gaussian.empirical_gaussian_gromov_wasserstein_distance gaussian.empirical_gaussian_gromov_wasserstein_mapping
        da.LinearGWTransport sgot sgot.*""",
    "Not yet: barycentres of mixtures, of projections and of targets that shift, and several marginals": """
        lp.NorthWestMMGluing bregman.jcpot_barycenter
        bregman.unmix da.JCPOTTransport gmm.dist_bures_squared gmm.gaussian_logpdf gmm.gaussian_pdf
        gmm.gmm_barycenter_fixed_point gmm.gmm_ot_apply_map gmm.gmm_ot_loss gmm.gmm_ot_plan gmm.gmm_ot_plan_density
        gmm.gmm_pdf gmm lp.dmmot_monge_1dgrid_loss lp.dmmot_monge_1dgrid_optimize""",
    "Not yet: weak and semi-discrete transport, the path of all prices, bijections by partition": """
        weak_optimal_transport weak.weak_optimal_transport semidiscrete semidiscrete.solve_semidiscrete
        semidiscrete.semidiscrete_atom_weights semidiscrete.semidiscrete_ot_map semidiscrete.semidiscrete_c_transform
        regpath.* regpath compute_bspot_bijection merge_bijections bsp.compute_bspot_bijection bsp.merge_bijections""",
    "Not a goal: maps that are learned together with the plan, graph networks, and projections to fewer dimensions": """
        da.EMDLaplaceTransport da.emd_laplace da.MappingTransport da.NearestBrenierPotential mapping.* gnn.* dr.*""",
    "Not a goal: solvers, projections and arrays to build with; torch has them, or the problem is asked as a whole": """
        optim optim.* bregman.geometricBar bregman.geometricMean bregman.projR bregman.projC smooth.Regularization
        smooth.projection_simplex smooth.dual_obj_grad smooth.semi_dual_obj_grad lp.cvx lp.check_number_threads backend
        backend.* utils utils.* tic toc toq datasets datasets.* plot.*""",
    "Names of modules, whose functions are listed": """
        bregman lp sliced gaussian da smooth stochastic unbalanced partial solvers weak factored lowrank""",
}


def table() -> str:
    """The names, both tables, and what has no line, as Markdown."""
    parts = ["```python", SETUP.strip(), "```", ""]
    for title, lines in (("POT", POT), ("GeomLoss", GEOMLOSS)):
        parts += [f"| {title} | Monge | difference |", "|---|---|---|"]
        for line in lines:
            also = "".join(f", `{name}`" for name in line.also.split())
            word = "; ".join(part for part in (line.word, also and f"also for {also[2:]}") if part)
            parts.append(f"| `{_cell(line.theirs)}` | `{_cell(line.ours)}` | {word} |")
        parts.append("")
    parts += ["What has no line:", ""]
    for why, names in ABSENT.items():
        parts.append(f"- {why}: {', '.join(f'`{name}`' for name in names.split())}.")
    return "\n".join([*parts, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

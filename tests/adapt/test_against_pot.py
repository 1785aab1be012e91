"""The estimators beside those of POT, on generated data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import ot
import pytest
import torch

import monge
from monge.adapt import ClassRegularisedMap, EntropicMap, ExactMap, UnbalancedMap, solve_by_class
from monge.geometry import CostMatrix, PointCloud


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(1)
    labels = np.arange(60) % 3
    centres = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    Xs = random.normal(size=(60, 2)) * 0.6 + centres[labels]
    yt = np.arange(45) % 3
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    Xt = (random.normal(size=(45, 2)) * 0.6 + centres[yt]) @ turn + 0.5
    return Xs, labels, Xt, yt, random.normal(size=(30, 2)) * 2


def compare(ours, theirs, data, *, tol=1e-6) -> None:
    Xs, _, Xt, _, new = data
    for points in (Xs, new):
        np.testing.assert_allclose(ours.transform(points), theirs.transform(Xs=points), atol=tol)
    np.testing.assert_allclose(ours.inverse_transform(Xt), theirs.inverse_transform(Xt=Xt), atol=tol)


def test_exact(data) -> None:
    Xs, _, Xt, _, _ = data
    theirs = ot.da.EMDTransport().fit(Xs=Xs, Xt=Xt)
    compare(ExactMap(Xt, method="nearest").fit(Xs), theirs, data)
    # At the points of the source all maps of one plan agree.
    np.testing.assert_allclose(ExactMap(Xt).fit_transform(Xs), theirs.transform(Xs=Xs), atol=1e-6)


def test_exact_with_labels(data) -> None:
    Xs, ys, Xt, yt, _ = data
    partly = np.where(np.arange(45) % 5 == 0, yt, -1)
    theirs = ot.da.EMDTransport(limit_max=1e3).fit(Xs=Xs, ys=ys, Xt=Xt, yt=partly)
    ours = ExactMap(Xt, target_labels=partly).fit(Xs, ys)
    compare(ours, theirs, data)
    crossing = (partly != -1) & (ys[:, None] != partly)
    assert float(ours.coupling_.dense()[torch.tensor(crossing)].sum()) == 0
    assert float(ExactMap(Xt).fit(Xs).coupling_.dense()[torch.tensor(crossing)].sum()) > 0.01


@pytest.mark.parametrize("names", [np.array(["a", "b", "c"]), np.array([5.0, -2.0, 9.0])])
def test_labels_may_be_anything(names, data) -> None:
    Xs, ys, Xt, yt, _ = data
    expected = ExactMap(Xt, target_labels=yt).fit_transform(Xs, ys)
    np.testing.assert_array_equal(ExactMap(Xt, target_labels=names[yt]).fit_transform(Xs, names[ys]), expected)


def test_classes_of_other_sizes_leave_no_plan(data) -> None:
    Xs, ys, Xt, _, _ = data
    with pytest.raises(monge.errors.InfeasibleError):
        ExactMap(Xt, target_labels=np.zeros(45)).fit(Xs, ys)
    UnbalancedMap(Xt, target_labels=np.zeros(45)).fit(Xs, ys)


def test_entropic(data) -> None:
    Xs, _, Xt, _, _ = data
    options = {"reg_e": 0.5, "tol": 1e-12, "max_iter": 10_000}
    continuous = ot.da.SinkhornTransport(**options, out_of_sample_map="continuous", method="sinkhorn_log")
    compare(EntropicMap(Xt, epsilon=0.5).fit(Xs), continuous.fit(Xs=Xs, Xt=Xt), data, tol=1e-4)
    nearest = ot.da.SinkhornTransport(**options, out_of_sample_map="ferradans").fit(Xs=Xs, Xt=Xt)
    compare(EntropicMap(Xt, epsilon=0.5, method="nearest").fit(Xs), nearest, data, tol=1e-4)


def test_unbalanced(data) -> None:
    Xs, _, Xt, _, _ = data
    theirs = ot.da.UnbalancedSinkhornTransport(reg_e=0.5, reg_m=1.0, tol=1e-12, max_iter=10_000).fit(Xs=Xs, Xt=Xt)
    ours = UnbalancedMap(Xt, epsilon=0.5, rho=1.0, method="nearest").fit(Xs)
    assert 0.2 < float(ours.coupling_.mass) < 0.9
    compare(ours, theirs, data, tol=1e-4)


# ---------------------------------------------------------------------- class-regularised plans

EPSILON, ETA, SMOOTHING = 0.5, 1.0, 0.05


def objective(P: np.ndarray, data) -> float:
    """Written out anew, with loops over targets and classes."""
    Xs, ys, Xt, _, _ = data
    n, m = P.shape
    C = ((Xs[:, None] - Xt) ** 2).sum(-1)
    entropy = sum(p * np.log(p * n * m) for p in P.flat if p > 0) - P.sum() + 1
    price = sum(np.sqrt(m * P[ys == c, j].sum() + SMOOTHING) / m for j in range(m) for c in np.unique(ys[ys != -1]))
    return float((C * P).sum() + EPSILON * entropy + ETA * price)


def posed(data) -> monge.Linear:
    Xs, _, Xt, _, _ = data
    return monge.Linear(PointCloud(torch.tensor(Xs), torch.tensor(Xt)), epsilon=EPSILON)


def by_class(data, **options):
    return solve_by_class(posed(data), torch.tensor(data[1]), eta=ETA, smoothing=SMOOTHING, **options)


def test_class_regularised(data) -> None:
    """POT's eta and its share, which is always 0.001, are eta / sqrt(m) and 0.001 m here."""
    Xs, ys, Xt, _, _ = data
    m = len(Xt)
    theirs = ot.da.SinkhornLpl1Transport(
        reg_e=EPSILON, reg_cl=ETA / np.sqrt(m), max_iter=200, max_inner_iter=5000, tol=1e-12
    ).fit(Xs=Xs, ys=ys, Xt=Xt)
    ours = ClassRegularisedMap(Xt, epsilon=EPSILON, eta=ETA, smoothing=1e-3 * m, tol=1e-8).fit(Xs, ys)
    assert ours.solution_.status is monge.solver.Status.CONVERGED
    np.testing.assert_allclose(ours.coupling_.dense(), theirs.coupling_, atol=1e-7)
    compare(ours, theirs, data, tol=1e-4)


def test_the_value_is_the_objective(data) -> None:
    solution = by_class(data)
    assert float(solution.value) == pytest.approx(objective(solution.coupling.dense().numpy(), data), rel=1e-9)
    assert float(solution.value - solution.class_price) == pytest.approx(
        float(sum(posed(data).terms(solution.coupling))), rel=1e-9
    )


def test_no_step_raises_the_objective_and_the_last_leaves_the_plan(data) -> None:
    steps = [by_class(data, max_iter=k) for k in (1, 2, 3, 5, 8, 300)]
    values = [float(one.value) for one in steps]
    assert all(later < earlier + 1e-9 for earlier, later in pairwise(values))
    assert values[-1] < values[0] - 0.01
    assert [one.iterations for one in steps[:-1]] == [1, 2, 3, 5, 8]
    end = steps[-1]
    assert end.status.ok
    assert float(end.change) < 1e-5
    assert float(end.marginal_error) < 1e-6
    # Stationary: the plan solves the problem of its own tangent.
    groups = torch.tensor(data[1])[None] == torch.arange(3)[:, None]
    P, m = end.coupling.dense(), end.coupling.shape[1]
    slope = ETA / 2 / (m * (groups.double() @ P) + SMOOTHING).sqrt()
    tangent = monge.Linear(CostMatrix(posed(data).geometry.dense() + slope[torch.tensor(data[1])]), epsilon=EPSILON)
    again = monge.solve(tangent, monge.solver.Auto(tol=1e-9)).coupling.dense()
    assert float((again - P).abs().sum()) < 1e-4


def test_classes_are_kept_apart(data) -> None:
    """Of what a target point receives, the largest class has a larger share."""
    groups = (torch.tensor(data[1])[None] == torch.arange(3)[:, None]).double()
    plain, kept = monge.solve(posed(data)).coupling.dense(), by_class(data).coupling.dense()
    purity = [float((groups @ P).amax(0).sum()) for P in (plain, kept)]
    assert purity[1] > purity[0] + 0.01


def test_points_of_unknown_class_pay_nothing(data) -> None:
    Xs, ys, Xt, yt, new = data
    partly = np.where(np.arange(60) % 4 == 0, -1, ys)
    held = (Xs, partly, Xt, yt, new)
    solution = by_class(held)
    assert float(solution.value) == pytest.approx(objective(solution.coupling.dense().numpy(), held), rel=1e-9)
    nobody = by_class((Xs, np.full(60, -1), Xt, yt, new))
    assert float(nobody.class_price) == 0
    assert nobody.iterations == 2
    torch.testing.assert_close(nobody.coupling.dense(), monge.solve(posed(data)).coupling.dense(), atol=1e-7, rtol=0)


def test_marginals_may_be_missed_and_weights_may_be_zero(data) -> None:
    Xs, ys, Xt, _, _ = data
    b = torch.ones(45, dtype=torch.float64)
    b[::9] = 0
    problem = monge.Linear.between(torch.tensor(Xs), torch.tensor(Xt), None, b / b.sum(), epsilon=EPSILON, rho=2.0)
    first, last = (solve_by_class(problem, torch.tensor(ys), eta=ETA, max_iter=k) for k in (1, 300))
    assert last.status.ok
    assert float(last.value) < float(first.value)
    assert float(last.coupling.marginals()[1][::9].sum()) == 0


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"labels": [0, 1]}, monge.errors.DtypeError, "labels must be a tensor of whole numbers, but is list"),
        ({"labels": torch.zeros(60)}, monge.errors.DtypeError, "but is torch.float32"),
        ({"labels": torch.zeros(3).long()}, monge.errors.ShapeError, r"labels must have shape \(60,\)"),
        ({"smoothing": 0.0}, monge.errors.InputError, "smoothing must lie in"),
        ({"eta": -1.0}, monge.errors.InputError, "eta must lie in"),
        ({"tol": 0.0}, monge.errors.InputError, "tol must lie in"),
        ({"max_iter": 0}, monge.errors.InputError, "max_iter must be"),
        ({"problem": 3}, monge.errors.InputError, "problem must be a problem"),
    ],
)
def test_errors_of_the_solver(change, error, sentence, data) -> None:
    given = {"problem": posed(data), "labels": torch.tensor(data[1])} | change
    with pytest.raises(error, match=sentence):
        solve_by_class(**given)


def test_problems_that_it_does_not_treat(data) -> None:
    x, labels = torch.tensor(data[0]), torch.tensor(data[1])
    with pytest.raises(monge.errors.CapabilityError, match="treats Linear problems with epsilon > 0"):
        solve_by_class(monge.Linear(PointCloud(x, x)), labels)
    batch = monge.Linear(PointCloud(x.expand(2, -1, -1), x), epsilon=1.0)
    with pytest.raises(monge.errors.ShapeError, match="must be one problem"):
        solve_by_class(batch, labels)

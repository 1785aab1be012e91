"""Barycentres against closed forms: quantiles, translations, Gaussians, identical measures."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import monge
from draws import cloud
from monge.api import Barycenter
from monge.errors import ConvergenceWarning, DtypeError, InfeasibleError, InputError, ShapeError
from monge.geometry import CostMatrix, Geometry, Grid, PointCloud
from monge.problem import Linear
from monge.solver import Newton, Status
from sweep import sweep


def sorted_rows(x: Tensor) -> Tensor:
    return x[x[:, 0].argsort()]


# ---------------------------------------------------------------------- points that move


def test_one_dimension_averages_quantiles() -> None:
    measures = [3 * cloud(40, 1, 0), cloud(40, 1, 1) + 5, cloud(40, 1, 2) ** 3]
    shares = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    found = monge.barycenter(measures, shares)
    expected = sum(share * x.sort(0).values for share, x in zip(shares, measures, strict=True))
    torch.testing.assert_close(found.points.sort(0).values, expected, rtol=0, atol=1e-12)
    assert found.status is Status.CONVERGED
    assert len(found.history) == 2  # one update finds it, the second sees that it rests


def test_one_dimension_with_weights_and_another_size() -> None:
    """Against the integral of the quantile functions over each of the n equal pieces of mass."""
    generator = torch.Generator().manual_seed(5)
    measures = []
    for n in (7, 12):
        a = torch.rand(n, generator=generator, dtype=torch.float64)
        measures.append((cloud(n, 1, n), a / a.sum()))
    found = monge.barycenter(measures, [0.25, 0.75], size=10)
    steps = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    middle = (steps[1:] + steps[:-1]) / 2
    expected = torch.zeros(10, dtype=torch.float64)
    for share, (x, a) in zip((0.25, 0.75), measures, strict=True):
        order = x[:, 0].argsort()
        place = torch.searchsorted(a[order].cumsum(0), middle).clamp(max=len(x) - 1)
        expected += share * x[order, 0][place].reshape(10, -1).mean(1)
    torch.testing.assert_close(found.points[:, 0].sort().values, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_translates_meet_in_the_middle(epsilon: float) -> None:
    x, shift = cloud(30), torch.tensor([4.0, -2.0], dtype=torch.float64)
    found = monge.barycenter([x, x + shift], [0.75, 0.25], epsilon=epsilon, start=x + shift, solver=None)
    error = monge.wasserstein(found.points, x + shift / 4)
    assert error < (1e-9 if epsilon == 0 else 2e-2)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_of_identical_measures_is_that_measure(epsilon: float) -> None:
    x = cloud(25)
    found = monge.barycenter([x, x, x], epsilon=epsilon)
    torch.testing.assert_close(found.points, x, rtol=0, atol=1e-5)
    assert abs(found.value) < 1e-6


def test_entropic_barycentres_shrink_unless_debiased() -> None:
    x = cloud(60)
    options = {"epsilon": 1.0}
    plain = monge.barycenter([x, x], debiased=False, tol=5e-3, **options)
    debiased = monge.barycenter([x, x], start=x + 0.05 * cloud(60, 2, 9), tol=5e-3, **options)
    assert plain.points.var(0).sum() < 0.7 * x.var(0).sum()
    assert (debiased.points.var(0).sum() / x.var(0).sum()).item() == pytest.approx(1, abs=0.03)


def test_gaussians_average_their_bures_covariances() -> None:
    """Commuting covariances: the barycentre of Gaussians averages means and standard deviations."""
    x, y = cloud(400, 2, 0), cloud(400, 2, 1)
    x, y = ((z - z.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky((z - z.mean(0)).T.cov())).T for z in (x, y))
    scale = torch.tensor([3.0, 1.0], dtype=torch.float64)
    found = monge.barycenter([x * scale, y * scale.flip(0) + 2])
    torch.testing.assert_close(found.points.mean(0), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.points.std(0), torch.full((2,), 2.0).double(), rtol=0.04, atol=0)


@pytest.mark.parametrize("epsilon", [0.0, monge.relative(0.05)])
@pytest.mark.parametrize("debiased", [True, False])
def test_the_objective_falls(epsilon: object, debiased: bool) -> None:
    measures = [cloud(20), (cloud(15, 2, 1) + 2, torch.softmax(cloud(15, 1, 2)[:, 0], 0)), cloud(20, 2, 3)]
    found = monge.barycenter(measures, epsilon=epsilon, debiased=debiased, tol=1e-3, solver=None)
    fall = found.history.diff()
    assert (fall <= 1e-6 * found.history[:-1].abs()).all()
    assert found.value < found.history[0]
    assert [plan.shape for plan in found.couplings] == [(20, 20), (20, 15), (20, 20)]


def test_value_is_the_mean_cost() -> None:
    measures = [cloud(20), cloud(15, 2, 1) + 2]
    found = monge.barycenter(measures, [0.3, 0.7])
    costs = [monge.wasserstein(found.points, x) ** 2 for x in measures]
    torch.testing.assert_close(found.value, 0.3 * costs[0] + 0.7 * costs[1], rtol=1e-6, atol=0)


def test_mass_is_kept() -> None:
    weights = [torch.full((n,), 3.0 / n, dtype=torch.float64) for n in (6, 9)]
    found = monge.barycenter([(cloud(6), weights[0]), (cloud(9, 2, 1), weights[1])], size=4)
    torch.testing.assert_close(found.weights, torch.full((4,), 0.75).double())
    torch.testing.assert_close(found.couplings[1].marginals()[1], weights[1])


def test_points_are_differentiable_in_measures_and_shares() -> None:
    x, y = cloud(6).requires_grad_(), (cloud(6, 2, 1) + 3).requires_grad_()
    shares = torch.tensor([0.4, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y, s: monge.barycenter([x, y], s).points, (x, y, shares))


def test_not_resting_is_told() -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter=1 iterations"):
        found = monge.barycenter([cloud(20), cloud(20, 2, 1) + 1, cloud(20, 2, 2) - 1], max_iter=1)
    assert isinstance(found, Barycenter)
    assert found.status is Status.MAX_ITER


# ---------------------------------------------------------------------- histograms


def bump(n: int, mean: float, deviation: float) -> Tensor:
    bins = torch.arange(n, dtype=torch.float64)
    weight = torch.exp(-((bins - mean) ** 2) / (2 * deviation**2))
    return weight / weight.sum()


def moments(weight: Tensor) -> tuple[float, float]:
    bins = torch.arange(len(weight), dtype=weight.dtype)
    mean = float(weight @ bins)
    return mean, math.sqrt(float(weight @ (bins - mean) ** 2))


def test_identical_histograms_stay_as_they_are_if_debiased() -> None:
    grid = Grid((torch.arange(60).double(),))
    bins = torch.stack([bump(60, 20, 4) / 2 + bump(60, 40, 3) / 2] * 3)
    debiased = monge.barycenter_on(grid, bins, epsilon=4.0)
    torch.testing.assert_close(debiased, bins[0], rtol=0, atol=1e-5)
    blurred = monge.barycenter_on(grid, bins, epsilon=4.0, debiased=False)
    assert moments(blurred)[1] > moments(bins[0])[1] + 0.05
    torch.testing.assert_close(blurred.sum(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("epsilon", [1.0, 10.0])
def test_gaussian_histograms_average_means_and_deviations(epsilon: float) -> None:
    grid = Grid((torch.arange(120).double(),))
    bins = torch.stack([bump(120, 35, 5), bump(120, 85, 5)])
    mean, deviation = moments(monge.barycenter_on(grid, bins, [0.25, 0.75], epsilon=epsilon))
    assert mean == pytest.approx(0.25 * 35 + 0.75 * 85, abs=1e-3)
    assert deviation == pytest.approx(5, abs=1e-2)


def test_blur_of_gaussians_has_its_closed_form() -> None:
    """For equal deviations s the entropic barycentre has variance s^2 + epsilon / 2 with cost |x - y|^2."""
    grid = Grid((torch.arange(120).double(),))
    bins = torch.stack([bump(120, 45, 5), bump(120, 75, 5)])
    _, deviation = moments(monge.barycenter_on(grid, bins, epsilon=10.0, debiased=False, tol=1e-9))
    assert deviation**2 == pytest.approx(25 + 10.0 / 2, rel=1e-3)


def test_plain_barycentres_agree_with_pot() -> None:
    ot = pytest.importorskip("ot")
    x = cloud(25)
    cost = torch.cdist(x, x).square()
    bins = torch.softmax(3 * cloud(3, 25, 4), -1)
    shares = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    expected = ot.bregman.barycenter(
        bins.T.contiguous().numpy(),
        cost.numpy(),
        0.5,
        shares.numpy(),
        method="sinkhorn_log",
        stopThr=1e-12,
        numItermax=5000,
    )
    found = monge.barycenter_on(PointCloud(x, x), bins, shares, epsilon=0.5, debiased=False, tol=1e-10)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-9)


def test_debiased_barycentres_agree_with_pot() -> None:
    ot = pytest.importorskip("ot")
    grid = torch.arange(40).double()[:, None]
    cost = torch.cdist(grid, grid).square()
    bins = torch.stack([bump(40, 10, 2), bump(40, 28, 4)])
    expected = ot.bregman.barycenter_debiased(
        bins.T.contiguous().numpy(), cost.numpy(), 1.0, method="sinkhorn_log", stopThr=1e-12, numItermax=2000
    )
    found = monge.barycenter_on(CostMatrix(cost), bins, epsilon=1.0, tol=1e-10)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-7)


def test_small_epsilon_and_empty_bins() -> None:
    grid = Grid((torch.arange(50).double(),))
    bins = torch.zeros(2, 50, dtype=torch.float64)
    bins[0, 5], bins[1, 45] = 1.0, 1.0
    found = monge.barycenter_on(grid, bins, epsilon=0.05)
    assert found.isfinite().all()
    assert moments(found)[0] == pytest.approx(25, abs=1e-6)


def test_batches_and_masses() -> None:
    grid = Grid((torch.arange(40).double(),))
    masses = torch.tensor([2.0, 5.0], dtype=torch.float64)
    bins = torch.stack([torch.stack([bump(40, 10, 3), bump(40, 25 + k, 4)]) for k in (0, 4)]) * masses[:, None, None]
    together = monge.barycenter_on(grid, bins, epsilon=2.0)
    torch.testing.assert_close(together.sum(-1), masses)
    for k in range(2):
        alone = monge.barycenter_on(grid, bins[k], epsilon=2.0)
        torch.testing.assert_close(together[k], alone, rtol=0, atol=1e-4)


def test_missing_the_tolerance_is_told() -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter=2 iterations"):
        monge.barycenter_on(Grid((40,)), torch.stack([bump(40, 10, 3), bump(40, 25, 6)]).float(), epsilon=1, max_iter=2)


# ---------------------------------------------------------------------- kinds


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whole(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high, (), generator=generator))


def drawn_histograms(g: torch.Generator) -> tuple[Geometry, Tensor, Tensor]:
    """Costs of points on a line, a grid or in space; full, single, sparse, equal-height or extremely uneven bins."""
    sides = [(whole(1, 41, g),), (whole(2, 10, g), whole(2, 10, g))][whole(0, 2, g)]
    n, count, scale = math.prod(sides), whole(1, 11, g), 10.0 ** (whole(-8, 9, g) * whole(0, 2, g))
    geometry: Geometry = Grid(tuple(scale * torch.arange(side).double() for side in sides))
    if whole(0, 4, g) == 0:
        x = scale * torch.randn(n, whole(1, 4, g), generator=g, dtype=torch.float64)
        geometry = PointCloud(x, x)
    uniform = torch.rand(count, n, generator=g, dtype=torch.float64)
    styles = (uniform + 1e-3, 0 * uniform, uniform**4 * (uniform > 0.5), (uniform > 0.7).double(), uniform**30 + 1e-20)
    bins = styles[whole(0, 5, g)].clone()
    bins[torch.arange(count), torch.randint(0, n, (count,), generator=g)] += 1
    shares = torch.rand(count, generator=g, dtype=torch.float64) + 0.1
    shares[1:] *= torch.rand(count - 1, generator=g) > 0.1
    return geometry, 3 * bins / bins.sum(-1, keepdim=True), shares


@sweep(30)
def test_barycentres_of_histograms_converge_at_their_defaults(seeds: range) -> None:
    """Whatever the cost, its scale, the bins and epsilon: no warning, and the mass."""
    for seed in seeds:
        g = drawn(seed)
        geometry, bins, shares = drawn_histograms(g)
        epsilon, debiased = monge.relative((10, 1, 0.2, 0.05, 0.01)[whole(0, 5, g)]), whole(0, 3, g) > 0
        dtype = (torch.float32, torch.float64)[whole(0, 2, g)]
        q = monge.barycenter_on(
            geometry.to(dtype), bins.to(dtype), shares.to(dtype), epsilon=epsilon, debiased=debiased
        )
        assert q.dtype == dtype, seed
        assert (q >= 0).all(), seed
        assert float(q.sum()) == pytest.approx(3, rel=1e-5), seed


def classical(cost: Tensor, bins: Tensor, shares: Tensor, epsilon: float, debiased: bool, sweeps: int) -> Tensor:
    """The sweeps of Benamou et al. and Janati et al., on logarithms, without momentum."""
    kernel, log_b, shares = -cost / epsilon, bins.log(), shares[:, None]
    log_v, log_d = torch.zeros_like(bins), torch.zeros_like(bins[0])
    for _ in range(sweeps):
        log_u = log_b - (kernel + log_v[:, :, None]).logsumexp(1)
        reached = (kernel + log_u[:, None]).logsumexp(2)
        log_q = log_d + (shares * reached).sum(0)
        log_v = log_q - reached
        log_d = (log_d + log_q - (kernel + log_d).logsumexp(1)) / 2 if debiased else log_d
    return (log_q - log_q.logsumexp(-1)).exp()


def objective(cost: Tensor, q: Tensor, bins: Tensor, shares: Tensor, epsilon: float, debiased: bool) -> float:
    """What the barycentre minimises, but for a constant: costs relative to the product, and the entropy if plain."""
    geometry, solver = CostMatrix(cost), Newton(tol=1e-9)
    q = (q + 1e-30) / (q + 1e-30).sum()
    costs = monge.solve(Linear(geometry, q.expand_as(bins), bins, epsilon=epsilon), solver).value
    beyond = monge.solve(Linear(geometry, q, q, epsilon=epsilon), solver).value / -2 if debiased else None
    return float(shares @ costs + (epsilon * torch.xlogy(q, q).sum() if beyond is None else beyond))


@sweep(8, 300)
def test_no_classical_sweeps_find_a_better_histogram(seeds: range) -> None:
    for seed in seeds:
        g = drawn(seed)
        geometry, bins, shares = drawn_histograms(g)
        cost = geometry.dense()
        cost, bins, shares = cost / cost.mean().clamp(min=1e-300), bins / 3, shares / shares.sum()
        epsilon, debiased = (0.2, 0.05)[whole(0, 2, g)], whole(0, 3, g) > 0
        found = monge.barycenter_on(CostMatrix(cost), bins, shares, epsilon=epsilon, debiased=debiased)
        slow = classical(cost, bins, shares, epsilon, debiased, 500)
        values = [objective(cost, q, bins, shares, epsilon, debiased) for q in (found, slow)]
        assert values[0] <= values[1] + 1e-4 * (1 + abs(values[1])), (seed, *values)


@sweep(12)
def test_a_batch_of_histograms_is_a_loop_and_equal_ones_stay(seeds: range) -> None:
    for seed in seeds:
        g = drawn(seed)
        n, count = whole(2, 30, g), whole(1, 6, g)
        bins = torch.rand(3, count, n, generator=g, dtype=torch.float64) ** 3
        bins[2] = bins[2, :1] * (torch.rand(n, generator=g) > 0.3)
        bins[2, :, 0] += 0.1
        bins = bins / bins.sum(-1, keepdim=True)
        epsilon = monge.relative((0.2, 0.05)[whole(0, 2, g)])
        together = monge.barycenter_on(Grid((torch.arange(n).double(),)), bins, epsilon=epsilon)
        for k in range(3):
            alone = monge.barycenter_on(Grid((torch.arange(n).double(),)), bins[k], epsilon=epsilon)
            assert torch.equal(together[k], alone), seed
        assert float((together[2] - bins[2, 0]).abs().sum()) < 1e-3, seed


@sweep(12)
def test_diracs_meet_at_their_mean(seeds: range) -> None:
    """On the line and far from its ends, blurred by half of epsilon."""
    for seed in seeds:
        g = drawn(seed)
        places = torch.randint(10, 31, (2,), generator=g)
        bins = torch.eye(41, dtype=torch.float64)[places]
        shares = torch.rand(2, generator=g, dtype=torch.float64) + 0.1
        epsilon = (1.0, 4.0)[whole(0, 2, g)]
        q = monge.barycenter_on(Grid((torch.arange(41).double(),)), bins, shares, epsilon=epsilon, debiased=False)
        mean = float((shares * places).sum() / shares.sum())
        assert moments(q)[0] == pytest.approx(mean, abs=0.51), seed
        assert moments(q)[1] ** 2 == pytest.approx(epsilon / 2, rel=0.2, abs=0.3), seed


@sweep(12)
def test_debiased_diracs_meet_at_their_mean(seeds: range) -> None:
    """Mass in one wrong bin meets every marginal, and is no barycentre."""
    for seed in seeds:
        g = drawn(seed)
        places = torch.randint(10, 31, (2,), generator=g)
        shares = torch.rand(2, generator=g, dtype=torch.float64) + 0.1
        bins, grid = torch.eye(41, dtype=torch.float64)[places], Grid((torch.arange(41).double(),))
        q = monge.barycenter_on(grid, bins, shares, epsilon=(1.0, 4.0)[whole(0, 2, g)])
        mean = float((shares * places).sum() / shares.sum())
        assert moments(q)[0] == pytest.approx(mean, abs=0.51), seed
        assert moments(q)[1] < 1, seed


@sweep(2, 400)
def test_barycentres_of_clouds_converge_at_their_defaults(seeds: range) -> None:
    """No warning, a history that falls, and the same points wherever the clouds lie and whatever their units."""
    for seed in seeds:
        g = drawn(seed)
        dtype, count = (torch.float32, torch.float64)[whole(0, 2, g)], whole(1, 4, g)
        measures = []
        for k in range(count):
            n = whole(1, 10, g)
            a = torch.rand(n, generator=g, dtype=torch.float64) + 0.1
            x = torch.randn(n, 2, generator=g, dtype=torch.float64) * (1 + k / 3) + k
            measures.append((x.to(dtype), (a / a.sum()).to(dtype)))
        shares = torch.rand(count, generator=g, dtype=dtype) + 0.1
        epsilon = monge.relative((0.2, 0.05)[whole(0, 2, g)])
        found = monge.barycenter(measures, shares, epsilon=epsilon)
        assert found.status is Status.CONVERGED, seed
        assert (found.history.diff() <= 0).all(), seed
        factor = 2.0 ** whole(-20, 21, g)
        moved = [(factor * x, a) for x, a in measures]
        scaled = monge.barycenter(moved, shares, epsilon=epsilon)
        assert float((scaled.points / factor - found.points).norm()) <= 5e-2 * float(1 + found.points.norm()), seed


def test_grids_of_a_batch_have_an_epsilon_each() -> None:
    """Small ones, which are summed in the log domain, for as many problems as there are pixels on a side."""
    bins = torch.rand(8, 64, generator=drawn(0), dtype=torch.float64)
    epsilon = torch.linspace(0.01, 0.1, 8, dtype=torch.float64)
    grid, zero = Grid((torch.arange(8).double(),) * 2), torch.zeros(8, 64, dtype=torch.float64)
    together = grid._softmin(zero, bins.log(), epsilon)
    alone = [grid._softmin(zero[k], bins[k].log(), float(epsilon[k])) for k in range(8)]
    torch.testing.assert_close(together, torch.stack(alone))


# ---------------------------------------------------------------------- errors

SHIFT = torch.eye(3).roll(1, 0)
FORBIDDEN = torch.tensor([[0.0, math.inf], [math.inf, 0.0]])


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda x: monge.barycenter([]), InputError, "at least one"),
        (lambda x: monge.barycenter(Grid((4,))), InputError, "barycenter_on"),
        (lambda x: monge.barycenter([x, x], [1.0]), ShapeError, "one weight per point|one number per measure"),
        (lambda x: monge.barycenter([x, x], [1.0, -1.0]), InputError, "non-negative"),
        (lambda x: monge.barycenter([(x, torch.ones(4).double()), x]), InfeasibleError, "same mass"),
        (lambda x: monge.barycenter([x], size=40), InputError, "give start points"),
        (lambda x: monge.barycenter([x], start=x[:, :1]), ShapeError, "start must have shape"),
        (lambda x: monge.barycenter([x], start=x.float()), DtypeError, "one dtype"),
        (lambda x: monge.barycenter([x], start=x, size=3), InputError, "disagree"),
        (lambda x: monge.barycenter([x], epsilon=-1.0), InputError, "epsilon"),
        (lambda x: monge.barycenter([x], max_iter=0), InputError, "max_iter"),
        (lambda x: monge.barycenter_on(x, x, epsilon=1.0), InputError, "barycenter\\(measures\\)"),
        (lambda x: monge.barycenter_on(Grid((3,)), x, epsilon=1.0), ShapeError, "flatten"),
        (lambda x: monge.barycenter_on(Grid((4,)), torch.eye(4), epsilon=-1.0), InputError, "epsilon"),
        (lambda x: monge.barycenter_on(Grid((4,)), torch.eye(4), epsilon=torch.ones(2)), InputError, "one number"),
        (lambda x: monge.barycenter_on(Grid((4,)), torch.eye(4), epsilon=0, rho=1.0), InputError, "positive epsilon"),
        (lambda x: monge.barycenter_on(Grid((4,)), torch.eye(4), epsilon=1, rho=-1.0), InputError, "rho"),
        (
            lambda x: monge.barycenter_on(Grid((4,)), torch.eye(4), epsilon=1, rho=1.0, debiased=True),
            InputError,
            "contradict",
        ),
        (
            lambda x: monge.barycenter_on(Grid((40, 40)), torch.eye(1600)[:9] + 1, epsilon=0),
            InputError,
            "23,040,000 unknowns",
        ),
        (
            lambda x: monge.barycenter_on(CostMatrix(FORBIDDEN), torch.eye(2), epsilon=0.0),
            InfeasibleError,
            "infinite",
        ),
        (lambda x: monge.barycenter_on(Grid((2,)), x.float().abs(), epsilon=1.0), InfeasibleError, "same mass"),
        (
            lambda x: monge.barycenter_on(CostMatrix(torch.eye(4).roll(1, 0)), torch.eye(4), epsilon=1),
            InputError,
            "symm",
        ),
        (lambda x: monge.barycenter_on(CostMatrix(FORBIDDEN), torch.eye(2), epsilon=1.0), InfeasibleError, "infinite"),
        (lambda x: monge.barycenter_on(PointCloud(x, x[:2]), x.abs(), epsilon=1.0), ShapeError, "debiased=False"),
    ],
)
def test_errors_say_what_to_do(call, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        call(cloud(4))

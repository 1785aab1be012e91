"""Plans as functions: what happens to points that a plan has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable

import ot
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

import monge
from monge.coupling import Coupling, DenseCoupling, PermutationCoupling, PotentialCoupling, TransportMap
from monge.errors import CapabilityError, InfeasibleError, InputError, ShapeError
from monge.geometry import Circle, CostMatrix, Geometry, Grid, Line, LowRankCost, PointCloud, Sphere, Tree
from monge.problem import AtMost, Linear, Relaxed
from monge.solver import Simplex, Sinkhorn, Sorted
from monge.testing import couplings
from sweep import sweep

METHODS = ("barycentric", "nearest", "brenier")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def weights(*shape: int, seed: int = 0) -> Tensor:
    raw = torch.rand(*shape, generator=seeded(seed), dtype=torch.float64) + 0.1
    return raw / raw.sum(-1, keepdim=True)


def plan(method: str, *batch: int, n: int = 9, m: int = 7, d: int = 2) -> Coupling:
    """A plan that the method can continue, between points of different weights."""
    x, y = cloud(*batch, n, d), cloud(*batch, m, d, seed=1)
    a, b = weights(*batch, n), weights(*batch, m, seed=1)
    epsilon = 0.3 if method == "barycentric" else 0.0
    return monge.couple(x, y, a, b, epsilon=epsilon, solver=Sinkhorn(tol=1e-10) if epsilon else None)


# ---------------------------------------------------------------------- at the points that the plan knows


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [(), (2,), (2, 1)])
def test_source_points_go_to_their_barycentres(method: str, batch: tuple[int, ...]) -> None:
    P = plan(method, *batch)
    T = TransportMap(P, method)
    torch.testing.assert_close(T(P.geometry.x), P.barycentric(P.geometry.y))
    torch.testing.assert_close(T.inverse(P.geometry.y), P.T.barycentric(P.geometry.x))
    torch.testing.assert_close(P.T.map(P.geometry.y, method=method), P.T.barycentric(P.geometry.x))


@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_a_plan_is_the_map(method: str) -> None:
    P, new = plan(method), cloud(5, 2, seed=3)
    torch.testing.assert_close(P.map(new, method=method), TransportMap(P, method)(new), rtol=0, atol=0)
    default = "barycentric" if method == "barycentric" else "nearest"
    assert TransportMap(P).method == default


@sweep(40, slow=2000)
def test_exact_maps_are_right_where_everything_ties(seeds: range) -> None:
    """On a small integer grid many plans are optimal, points coincide across clouds, and cells share borders."""
    for seed in seeds:
        generator = seeded(seed)
        n, m = (int(k) for k in torch.randint(1, 9, (2,), generator=generator))
        squares = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).double()
        x, y = (squares[torch.randperm(16, generator=generator)[:k]] for k in (n, m))
        P = monge.couple(x, y)
        for method in ("nearest", "brenier"):
            T = TransportMap(P, method)
            told = f"seed {seed}, {method}"
            torch.testing.assert_close(T(x), P.barycentric(y), msg=told)
            torch.testing.assert_close(T.inverse(y), P.T.barycentric(x), msg=told)


def test_a_bijection_comes_back() -> None:
    x, y = cloud(30, 3), cloud(30, 3, seed=1)
    for method in ("nearest", "brenier"):
        T = TransportMap(monge.couple(x, y), method)
        torch.testing.assert_close(T.inverse(T(x)), x)
        torch.testing.assert_close(T.inverse.inverse(x), T(x))


# ---------------------------------------------------------------------- between them, against definitions


def cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().pow(3).sum(-1)


def taxi(x: Tensor, y: Tensor) -> Tensor:
    return 2 * (x - y).abs().sum(-1)


COSTS: dict[str, Callable[[Tensor, Tensor], Geometry]] = {
    "sqeuclidean": PointCloud,
    "euclidean": lambda x, y: PointCloud(x, y, "euclidean"),
    "power": lambda x, y: PointCloud(x, y, "euclidean", power=1.5),
    "cityblock": lambda x, y: PointCloud(x, y, "cityblock"),
    "minkowski": lambda x, y: PointCloud(x, y, "minkowski", p=3.0),
    "cosine": lambda x, y: PointCloud(x, y, "cosine"),
    "dot": lambda x, y: PointCloud(x, y, "dot"),
    "function": lambda x, y: PointCloud(x, y, taxi),
    "scaled": lambda x, y: 2.0 * PointCloud(x, y),
    "scaled function": lambda x, y: 0.5 * PointCloud(x, y, taxi),
}


@pytest.mark.parametrize("name", COSTS)
def test_barycentric_maps_are_softmaxes_of_reduced_costs(name: str) -> None:
    x, y, new, b = cloud(8, 2), cloud(6, 2, seed=1), cloud(11, 2, seed=2), weights(6)
    P = monge.solve(Linear(COSTS[name](x, y), None, b, epsilon=0.4), Sinkhorn(tol=1e-10)).coupling
    score = (P.g - COSTS[name](new, y).dense()) / 0.4 + b.log()
    torch.testing.assert_close(P.map(new), score.softmax(-1) @ y)


@pytest.mark.parametrize("name", COSTS)
def test_brenier_maps_are_the_cells_of_the_potentials(name: str) -> None:
    x, y, new, b = cloud(8, 2), cloud(6, 2, seed=1), cloud(11, 2, seed=2), weights(6)
    solution = monge.solve(Linear(COSTS[name](x, y), None, b))
    cell = (COSTS[name](new, y).dense() - solution.g).argmin(-1)
    torch.testing.assert_close(solution.map(new, method="brenier"), y[cell])
    torch.testing.assert_close(solution.map(x, method="brenier"), solution.coupling.barycentric(y))
    torch.testing.assert_close(solution.map(new), y[cell])
    torch.testing.assert_close(solution.map(new, method="nearest"), solution.coupling.map(new))


def test_brenier_maps_are_monotone_between_the_points_too() -> None:
    """The gradient of a convex function: no cycle of new points costs less than staying."""
    T = TransportMap(plan("brenier", n=40, m=25), "brenier")
    new = 2 * cloud(300, 2, seed=4)
    gain = (T(new)[:, None] - T(new)) * (new[:, None] - new)
    assert float(gain.sum(-1).min()) >= -1e-12


def test_half_the_gradient_of_the_potential_is_the_displacement() -> None:
    P, new = plan("barycentric"), cloud(5, 2, seed=2).requires_grad_()
    f = PointCloud(new, P.geometry.y)._softmin(P.g, P.b.log(), P.epsilon)
    (gradient,) = torch.autograd.grad(f.sum(), new)
    torch.testing.assert_close(P.map(new.detach()), new.detach() - gradient / 2)


# ---------------------------------------------------------------------- against another library


PEERS = {
    "exact, nearest": (0.0, "nearest", ot.da.EMDTransport()),
    "entropic, nearest": (0.5, "nearest", ot.da.SinkhornTransport(0.5, tol=1e-12, out_of_sample_map="ferradans")),
    "entropic, barycentric": (0.5, "barycentric", ot.da.SinkhornTransport(0.5, tol=1e-12)),
}


@pytest.mark.parametrize("name", PEERS)
def test_maps_are_those_of_pot(name: str) -> None:
    epsilon, method, peer = PEERS[name]
    x, y, new = cloud(40, 3), cloud(30, 3, seed=1) + 1, cloud(70, 3, seed=2)
    peer.fit(Xs=x.numpy(), Xt=y.numpy())
    T = TransportMap(monge.couple(x, y, epsilon=epsilon, solver=Sinkhorn(tol=1e-11) if epsilon else None), method)
    torch.testing.assert_close(T(new), torch.from_numpy(peer.transform(Xs=new.numpy())), rtol=1e-8, atol=1e-8)
    there = torch.from_numpy(peer.inverse_transform(Xt=new.numpy()))
    torch.testing.assert_close(T.inverse(new), there, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(T(x), torch.from_numpy(peer.transform(Xs=x.numpy())), rtol=1e-8, atol=1e-8)


# ---------------------------------------------------------------------- one dimension: quantiles


def quantile_of(x: Tensor, y: Tensor, new: Tensor) -> Tensor:
    """The quantile of y at the share of x that is not above each new point."""
    rank = torch.searchsorted(x.sort().values, new, right=True)
    return y.sort().values[(rank - 1).clamp_min(0)]


@pytest.mark.parametrize("line", [True, False])
def test_on_a_line_the_brenier_map_is_the_quantile_map(line: bool) -> None:
    x, y, new = cloud(50), cloud(50, seed=1), cloud(400, seed=2)
    geometry = Line(x, y) if line else PointCloud(x[:, None], y[:, None])
    solution = monge.solve(Linear(geometry), Sorted())

    def shaped(t: Tensor) -> Tensor:
        return t if line else t[:, None]

    torch.testing.assert_close(solution.map(shaped(new), method="brenier"), shaped(quantile_of(x, y, new)))
    # Other optimal potentials put the borders of cells elsewhere between neighbours, and nowhere else.
    T = TransportMap(solution.coupling, "brenier")
    torch.testing.assert_close(T(shaped(x)), shaped(quantile_of(x, y, x)))
    found, order = T(shaped(new)).reshape(-1), new.argsort()
    assert bool((found[order].diff() >= 0).all())
    low, high = (quantile_of(x, y, new) for _ in range(2))
    ranks = torch.searchsorted(y.sort().values, low)
    high = y.sort().values[(ranks + 1).clamp_max(49)]
    assert bool(((found >= low - 1e-12) & (found <= high + 1e-12)).all())


def test_uneven_weights_on_a_line_split_points_at_quantiles() -> None:
    x, y = torch.tensor([0.0, 1.0]).double(), torch.tensor([0.0, 3.0, 9.0]).double()
    P = monge.couple(Line(x, y), None, torch.tensor([0.5, 0.5]).double(), torch.tensor([0.25, 0.5, 0.25]).double())
    for method in ("nearest", "brenier"):
        torch.testing.assert_close(P.map(x, method=method), torch.tensor([1.5, 6.0]).double())
    new = torch.tensor([-9.0, 0.5, 9.0]).double()
    torch.testing.assert_close(P.map(new, method="brenier"), torch.tensor([0.0, 3.0, 9.0]).double())


# ---------------------------------------------------------------------- Gaussians: the map is affine

ROOT = torch.tensor([[1.5, 0.4], [0.4, 0.8]]).double()


def affine(x: Tensor) -> Tensor:
    """The optimal map from N(0, 1) to N((1, -1), ROOT^2): its matrix is symmetric and positive."""
    return x @ ROOT + torch.tensor([1.0, -1.0]).double()


def error(T: Callable[[Tensor], Tensor], new: Tensor) -> float:
    return float((T(new) - affine(new)).square().sum(-1).mean().sqrt())


def test_gaussian_maps_are_met_within_the_statistical_error() -> None:
    """Independent samples of both sides, new points from the source; errors fall with n, and biases with epsilon."""
    new = cloud(1000, 2, seed=9)
    errors: dict[str, list[float]] = {}
    for n in (100, 400, 1600):
        x, y = cloud(n, 2, seed=1), affine(cloud(n, 2, seed=2))
        # What two samples of this size leave unknown: how far their barycentric projection is from the truth.
        solution = monge.solve(Linear(PointCloud(x, y)))
        for method in ("nearest", "brenier"):
            errors.setdefault(method, []).append(error(lambda t, s=solution, k=method: s.map(t, method=k), new))
        errors.setdefault("at the sample", []).append(error(lambda t, s=solution: s.map(t), x))
        P = monge.couple(x, y, epsilon=2 * n**-0.5)
        errors.setdefault("barycentric", []).append(error(P.map, new))
    for method in METHODS:
        assert errors[method][0] > errors[method][1] > errors[method][2], (method, errors)
    for method in ("nearest", "brenier"):
        for found, known in zip(errors[method], errors["at the sample"], strict=True):
            assert found <= 1.5 * known, (method, errors)
    assert errors["barycentric"][-1] < errors["at the sample"][-1]


def test_the_bias_of_entropic_maps_is_of_the_order_of_epsilon() -> None:
    """The population map between Gaussians is known: on N(0, 1) to N(0, s^2) its factor is a root of a quadratic."""
    x = torch.linspace(-6, 6, 1201).double()
    s, a = 2.0, (-x.square() / 2).exp()
    y, b = s * x, a
    a, b = a / a.sum(), b / b.sum()
    biases = []
    for epsilon in (0.4, 0.2, 0.1):
        P = monge.couple(x[:, None], y[:, None], a, b, epsilon=epsilon, solver=Sinkhorn(tol=1e-10))
        factor = float(P.map(torch.tensor([[1.0]]).double()))
        # cov(x, y) = (sqrt(16 s^2 + epsilon^2) - epsilon) / 4 for |x - y|^2 and entropy epsilon.
        assert abs(factor - (math.sqrt(16 * s**2 + epsilon**2) - epsilon) / 4) < 1e-6
        biases.append(s - factor)
    assert 1.9 < biases[0] / biases[1] < 2.1
    assert 1.9 < biases[1] / biases[2] < 2.1


# ---------------------------------------------------------------------- the circle and the sphere


def ball(*shape: int, seed: int = 0) -> Tensor:
    points = cloud(*shape, seed=seed)
    return points / points.norm(dim=-1, keepdim=True)


def sphere_plan(method: str, d: int = 3, **settings: float) -> Coupling:
    geometry = Sphere(ball(9, d), ball(7, d, seed=1), **settings)
    epsilon = 0.2 if method == "barycentric" else 0.0
    return monge.solve(Linear(geometry, weights(9), weights(7, seed=1), epsilon=epsilon)).coupling


def exponential(x: Tensor, tangent: Tensor) -> Tensor:
    size = tangent.norm(dim=-1, keepdim=True)
    return size.cos() * x + size.sin() * tangent / size


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("d", [2, 3, 12])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_maps_stay_on_the_sphere(method: str, d: int, p: float) -> None:
    P, new = sphere_plan(method, d, p=p), cloud(20, d, seed=2)
    moved = P.map(new, method=method)
    torch.testing.assert_close(moved.norm(dim=-1), torch.ones(20).double())
    if (method, p) != ("brenier", 1.0):
        # Only directions count. With p = 1 all points behind one another share their best targets: cells overlap.
        torch.testing.assert_close(P.map(3 * new, method=method), moved)


@pytest.mark.parametrize("d", [3, 12])
def test_on_the_sphere_the_gradient_of_the_potential_is_followed(d: int) -> None:
    P, new = sphere_plan("barycentric", d), ball(20, d, seed=2).requires_grad_()
    f = Sphere(new, P.geometry.y)._softmin(P.g, P.b.log(), P.epsilon)
    (gradient,) = torch.autograd.grad(f.sum(), new)
    torch.testing.assert_close(P.map(new.detach()), exponential(new.detach(), -gradient / 2))


@pytest.mark.parametrize("method", METHODS)
def test_maps_turn_with_the_sphere(method: str) -> None:
    P, new = sphere_plan(method), ball(20, 3, seed=2)
    turn = torch.linalg.qr(cloud(3, 3, seed=5)).Q
    turned = P._replace(geometry=Sphere(P.geometry.x @ turn, P.geometry.y @ turn))
    torch.testing.assert_close(turned.map(new @ turn, method=method), P.map(new, method=method) @ turn)


def test_a_rotation_is_found_on_the_sphere() -> None:
    """All points turn about the axis by a little: near a source point, the nearest method turns as it does."""
    angle = 0.3
    turn = torch.eye(3).double()
    turn[:2, :2] = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    x = ball(400, 3)
    P = PermutationCoupling(torch.arange(400), torch.ones(400).double() / 400, geometry=Sphere(x, x @ turn))
    new = ball(50, 3, seed=1)
    assert float((P.map(new) - new @ turn).norm(dim=-1).max()) < 0.06
    torch.testing.assert_close(P.map(x), x @ turn)


@pytest.mark.parametrize("method", METHODS)
def test_antipodes_have_finite_images_and_gradients(method: str) -> None:
    x = torch.tensor([[0.0, 0.0, 1.0]]).double()
    epsilon = 0.5 if method == "barycentric" else 0.0
    P = monge.solve(Linear(Sphere(x, x), epsilon=epsilon)).coupling
    new = torch.cat([x, -x]).requires_grad_()
    moved = P.map(new, method=method)
    torch.testing.assert_close(moved.norm(dim=-1), torch.ones(2).double())
    torch.testing.assert_close(moved[:1], x)
    if method != "brenier":
        (gradient,) = torch.autograd.grad(moved.sum(), new)
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_maps_know_that_a_circle_closes(method: str, p: float) -> None:
    """A circle that is cut elsewhere has the same map."""
    x, y, new = (torch.rand(k, generator=seeded(k), dtype=torch.float64) for k in (9, 7, 20))
    epsilon = 0.02 if method == "barycentric" else 0.0
    a, b = weights(9), weights(7, seed=1)
    P = monge.solve(Linear(Circle(x, y, p=p), a, b, epsilon=epsilon)).coupling
    for shift in (0.5, 3.25):
        Q = P._replace(geometry=Circle((x + shift) % 1, (y + shift) % 1, p=p))
        apart = Q.map(new + shift, method=method) - P.map(new, method=method) - shift
        torch.testing.assert_close(apart - apart.round(), torch.zeros(20).double(), atol=1e-9, rtol=0)
    assert P.map(new, method=method).shape == (20,)


def test_near_the_cut_the_mean_is_near_the_cut() -> None:
    P = monge.solve(Linear(Circle(torch.tensor([0.0]), torch.tensor([0.95, 0.05])), epsilon=0.1)).coupling
    torch.testing.assert_close(P.map(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)


# ---------------------------------------------------------------------- grids


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_images_have_maps_to_any_point(p: float) -> None:
    grid = Grid((torch.arange(3).double(), torch.arange(4).double()), p=p)
    a, b = weights(12), weights(12, seed=1)
    P = monge.solve(Linear(grid, a, b, epsilon=0.5), Sinkhorn(tol=1e-10)).coupling
    places = torch.cartesian_prod(torch.arange(3), torch.arange(4)).double()
    torch.testing.assert_close(P.map(places), P.barycentric(places))
    between = P.map(torch.tensor([[0.5, 0.5]]).double())
    assert bool(((between > 0) & (between < 3)).all())


# ---------------------------------------------------------------------- batches, types, gradients


@pytest.mark.parametrize("method", METHODS)
def test_batches_are_loops(method: str) -> None:
    P, new = plan(method, 3), cloud(3, 5, 2, seed=2)
    T = TransportMap(P, method)
    whole = T(new)
    for k in range(3):
        torch.testing.assert_close(T[k](new[k]), whole[k])
        torch.testing.assert_close(T(new[0])[k], T[k](new[0]))
        torch.testing.assert_close(T.inverse[k](new[k]), T.inverse(new)[k])
    torch.testing.assert_close(T[1:](new[1:]), whole[1:])
    single = TransportMap(P[0], method)
    torch.testing.assert_close(single(new), torch.stack([single(part) for part in new]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_precision(method: str, dtype: torch.dtype) -> None:
    if method == "brenier" and dtype != torch.float32:
        pytest.skip("rounded points have other cells")
    T, new = TransportMap(plan(method), method), cloud(5, 2, seed=2)
    moved = TransportMap(T.coupling.to(dtype), method)(new.to(dtype))
    assert moved.dtype == dtype
    torch.testing.assert_close(moved.double(), T(new), rtol=0, atol=40 * torch.finfo(dtype).eps)
    torch.testing.assert_close(T.to(dtype)(new.to(dtype)), moved)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_precision_on_the_sphere(dtype: torch.dtype) -> None:
    P, new = sphere_plan("barycentric"), cloud(20, 3, seed=2)
    moved = P.to(dtype).map(new.to(dtype))
    assert moved.dtype == dtype
    torch.testing.assert_close(moved.double(), P.map(new), rtol=0, atol=40 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_exact_plans_of_rounded_points_have_cells(dtype: torch.dtype) -> None:
    x, y = cloud(8, 2, dtype=dtype), cloud(6, 2, seed=1, dtype=dtype)
    solution = monge.solve(Linear(PointCloud(x, y)))
    expected = solution.coupling.barycentric(y)
    torch.testing.assert_close(solution.map(x), expected)
    torch.testing.assert_close(solution.coupling.map(x, method="brenier"), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [PointCloud, lambda x, y: PointCloud(x, y, cubic), Sphere])
def test_gradients(method: str, make: Callable[[Tensor, Tensor], Geometry]) -> None:
    x, y, new = (cloud(k, 3, seed=k).requires_grad_() for k in (5, 4, 3))
    epsilon = 0.5 if method == "barycentric" else 0.0
    solver = Sinkhorn(tol=1e-12, max_iter=100_000) if epsilon else Simplex()

    def moved(x: Tensor, y: Tensor, new: Tensor) -> Tensor:
        return monge.solve(Linear(make(x, y), epsilon=epsilon), solver).coupling.map(new, method=method)

    assert torch.autograd.gradcheck(moved, (x, y, new), atol=1e-5, rtol=1e-4, fast_mode=True)


def test_maps_are_differentiable_twice() -> None:
    P, new = plan("barycentric"), cloud(2, 2, seed=2).requires_grad_()
    assert torch.autograd.gradgradcheck(P.map, new)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_transforms_of_torch_func() -> None:
    P, new = plan("barycentric"), cloud(4, 2, seed=2)
    rows = torch.func.vmap(lambda point: P.map(point[None])[0])(new)
    torch.testing.assert_close(rows, P.map(new))
    way = cloud(4, 2, seed=3)
    _, tangent = torch.func.jvp(P.map, (new,), (way,))
    torch.testing.assert_close(tangent, torch.autograd.functional.jvp(P.map, new, way)[1])


def test_potentials_far_below_the_temperature_do_not_underflow() -> None:
    """At epsilon = 1e-6 every weight but one is zero in floating point; far away all of them are."""
    x, y = cloud(6, 2), cloud(6, 2, seed=1)
    exact = monge.solve(Linear(PointCloud(x, y)))
    half = torch.full((6,), 1 / 6).double()
    P = PotentialCoupling(PointCloud(x, y), exact.f, exact.g, half, half, 1e-6)
    far = 1e6 * cloud(20, 2, seed=2)
    torch.testing.assert_close(P.map(far), exact.map(far, method="brenier"))


# ---------------------------------------------------------------------- absent points, other marginals


@pytest.mark.parametrize("method", METHODS)
def test_points_without_mass_have_no_influence(method: str) -> None:
    x, y, new = cloud(6, 2), cloud(5, 2, seed=1), cloud(8, 2, seed=2)
    a, b = weights(6), weights(5, seed=1)
    nowhere, zero = torch.zeros(1, 2).double(), torch.zeros(1).double()
    epsilon = 0.3 if method == "barycentric" else 0.0
    less = monge.couple(x, y, a, b, epsilon=epsilon).map(new, method=method)
    more = monge.couple(
        torch.cat([nowhere, x]), torch.cat([nowhere, y]), torch.cat([zero, a]), torch.cat([zero, b]), epsilon=epsilon
    ).map(new, method=method)
    torch.testing.assert_close(more, less, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_one_point_a_side(method: str) -> None:
    epsilon = 0.3 if method == "barycentric" else 0.0
    x, y = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[5.0, 5.0]]).double()
    P, new = monge.couple(x, y, epsilon=epsilon), cloud(3, 2)
    expected = new + (y - x) if method == "nearest" else y.expand(3, 2)
    torch.testing.assert_close(P.map(new, method=method), expected)


def test_unbalanced_maps_say_where_mass_goes_if_it_goes() -> None:
    x, y = cloud(9, 2), cloud(7, 2, seed=1)
    problem = Linear(PointCloud(x, y), Relaxed(weights(9), 0.3), Relaxed(weights(7), 0.3), epsilon=0.2)
    P = monge.solve(problem, Sinkhorn(tol=1e-10)).coupling
    torch.testing.assert_close(P.map(x), P.barycentric(y))


@pytest.mark.parametrize("method", ["nearest", "brenier"])
def test_partial_exact_plans_follow_the_points_that_move(method: str) -> None:
    x, y, one = cloud(9, 2), cloud(7, 2, seed=1), torch.ones(9).double()
    solution = monge.solve(Linear(PointCloud(x, y), AtMost(one), AtMost(one[:7]), mass=4.0))
    P = solution.coupling
    moved = P.marginals()[0] > 0
    assert 0 < int(moved.sum()) < 9
    torch.testing.assert_close(P.map(x, method=method)[moved], P.barycentric(y)[moved])
    reached = P.marginals()[1] > 0
    if method == "brenier":
        found = P.map(cloud(100, 2, seed=2), method=method)
        assert bool((found[:, None] == y[reached]).all(-1).any(-1).all())
        torch.testing.assert_close(solution.map(x)[moved], P.barycentric(y)[moved])


def test_prices_leave_optimal_potentials() -> None:
    x, y, one = cloud(9, 2), cloud(7, 2, seed=1), torch.ones(9).double()
    prices = Linear(PointCloud(x, y), Relaxed(one, 1.5, "tv"), Relaxed(one[:7], 1.5, "tv"))
    solution = monge.solve(prices)
    moved = solution.coupling.marginals()[0] > 0
    assert 0 < int(moved.sum()) < 9
    torch.testing.assert_close(solution.map(x)[moved], solution.coupling.barycentric(y)[moved])


# ---------------------------------------------------------------------- every representation


def test_every_representation_goes_on_from_the_nearest_point() -> None:
    count = 0
    for example in couplings(shapes=((4, 4), (3, 5), (1, 1)), batches=((), (2,))):
        P = example.coupling
        n, m = P.shape[-2:]
        if isinstance(P, PotentialCoupling):
            continue
        P = P._replace(geometry=PointCloud(cloud(n, 2), cloud(m, 2, seed=1)))
        there = P.marginals()[0] > 1e-9
        if not bool((P.mass > 0).all()):
            continue
        moved = TransportMap(P)(P.geometry.x)
        torch.testing.assert_close(moved[there], P.barycentric(P.geometry.y)[there], msg=example.name)
        count += 1
    assert count > 60


def test_plans_of_slices_have_maps() -> None:
    x, y = cloud(12, 3), cloud(12, 3, seed=1)
    P = monge.solve(Linear(PointCloud(x, y)), monge.sliced.Sliced()).coupling
    torch.testing.assert_close(P.map(x), P.barycentric(y))
    with pytest.raises(InputError, match="needs a plan that is optimal"):
        P.map(x, method="brenier")


def test_quadratic_links_go_on_from_the_nearest_point() -> None:
    x, zero, half = cloud(4, 2), torch.zeros(4).double(), torch.full((4,), 0.25).double()
    P = PotentialCoupling(PointCloud(x, x), zero + 1, zero + 1, half, half, 1.0, link="quadratic")
    torch.testing.assert_close(P.map(x), P.barycentric(x))
    with pytest.raises(CapabilityError, match="needs the potentials of an entropic plan"):
        P.map(x, method="barycentric")


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_values(method: str) -> None:
    P, new = plan(method), cloud(4, 2, seed=2)
    T = TransportMap(P, method)
    leaves, tree = tree_flatten(T)
    assert all(isinstance(leaf, Tensor) for leaf in leaves)
    torch.testing.assert_close(tree_unflatten(leaves, tree)(new), T(new), rtol=0, atol=0)
    assert not any(leaf.requires_grad for leaf in tree_leaves(T.detach()))
    assert T.to(torch.float32).coupling.dtype == torch.float32
    assert "TransportMap(" in repr(T)
    with pytest.raises(AttributeError):
        T.method = "nearest"  # type: ignore[misc]


# ---------------------------------------------------------------------- refusals: one sentence each


def bad_points() -> dict[str, tuple[Tensor, type[Exception], str]]:
    return {
        "dimension": (cloud(3, 5), ShapeError, r"points must have 2 coordinates.*P\.T\.map"),
        "one point": (cloud(2), ShapeError, "points must have shape"),
        "none": (cloud(0, 2), ShapeError, "at least one point"),
        "nan": (cloud(3, 2) * math.nan, InputError, "points must hold neither NaN nor inf"),
        "inf": (cloud(3, 2) / 0, InputError, "points must hold neither NaN nor inf"),
        "too far": (cloud(3, 2) * 1e200, InputError, "costs of these points may reach"),
        "no numbers": (cloud(3, 2) > 0, TypeError, "points must be floating-point"),
        "no tensor": ({"points": [[1.0, 2.0]]}, TypeError, "points must be a torch.Tensor"),
        "device": (
            cloud(3, 2).to("meta"),
            InputError,
            r"points and the plan must live on one device, but live on meta.*\.to\(device\)",
        ),
        "batch": (cloud(3, 4, 2), ShapeError, "batch dimensions of the plan and points must broadcast"),
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", bad_points())
def test_points_that_do_not_fit(method: str, name: str, unchecked_shapes: None) -> None:
    points, kind, told = bad_points()[name]
    T = TransportMap(plan(method, 2), method)
    with pytest.raises(kind, match=told) as caught:
        T(points)
    assert "\n" not in str(caught.value)


POINTLESS = {
    "a matrix": CostMatrix(cloud(3, 3).square()),
    "factors": LowRankCost(cloud(3, 1).abs(), cloud(3, 1).abs()),
    "a tree": Tree.from_parents(torch.tensor([-1, 0, 0]), torch.ones(3).double()),
    "a periodic grid": Grid((Circle(torch.arange(3).double(), torch.arange(3).double()),)),
    "a sum": PointCloud(cloud(3, 2), cloud(3, 2)) + CostMatrix(cloud(3, 3)),
}


@pytest.mark.parametrize("name", POINTLESS)
def test_costs_without_points_are_refused(name: str) -> None:
    P = DenseCoupling(torch.full((3, 3), 1 / 9).double(), geometry=POINTLESS[name])
    with pytest.raises(CapabilityError, match=r"needs a cost between points, but .* does not say"):
        P.map(cloud(2, 2))


def test_what_no_map_can_be_made_of() -> None:
    x = cloud(3, 2)
    P = monge.couple(x, x + 1)
    with pytest.raises(InputError, match=r"was not made for a cost.*geometry=PointCloud"):
        DenseCoupling(torch.eye(3).double()).map(x)
    with pytest.raises(InputError, match="was not made for a cost"):
        P.then(P).map(x)
    with pytest.raises(InputError, match="'nearest', 'brenier'"):
        P.map(x, method="linear")
    with pytest.raises(CapabilityError, match="PermutationCoupling has none"):
        P.map(x, method="barycentric")
    with pytest.raises(InputError, match="optimal for its cost"):
        monge.couple(x, x + 1, epsilon=1.0).map(x, method="brenier")
    with pytest.raises(InputError, match="coupling must be a Coupling, but is Tensor"):
        TransportMap(x)
    with pytest.raises(InfeasibleError, match="needs a plan with mass"):
        DenseCoupling(torch.zeros(3, 3).double(), geometry=PointCloud(x, x)).map(x)
    gone, one = torch.full((3,), -math.inf).double(), torch.ones(3).double()
    for f, g in ((gone, one), (one, gone)):
        with pytest.raises(InfeasibleError, match="needs a plan with mass"):
            PotentialCoupling(PointCloud(x, x), f, g, one, one, 1.0).map(x)
    with pytest.raises(ShapeError, match="geometry must hold a cost for each of the 3 x 3 pairs"):
        DenseCoupling(torch.eye(3).double(), geometry=PointCloud(x, x[:2])).map(x)
    with pytest.raises(
        TypeError, match=r"geometry and the plan must share one dtype, but have torch\.float64 and torch\.float32"
    ):
        TransportMap(DenseCoupling(torch.eye(3), geometry=PointCloud(x, x)))


def test_potentials_must_prove_the_plan(unchecked_shapes: None) -> None:
    problem = Linear(PointCloud(cloud(5, 2), cloud(4, 2, seed=1)))
    solution = monge.solve(problem)
    f, g, P = solution.f, solution.g, solution.coupling
    TransportMap(P, "brenier", (f + 1, g - 1))
    for wrong in ((f + 1, g), (f, g + 0.1 * cloud(4)), (f - 1, g)):
        with pytest.raises(InputError, match="potentials that prove it"):
            TransportMap(P, "brenier", wrong)
    with pytest.raises(ShapeError, match=r"g of shape \(\*batch, 4\)"):
        TransportMap(P, "brenier", (f, f))
    with pytest.raises(InputError, match="must be a pair"):
        TransportMap(P, "brenier", f)
    with pytest.raises(InputError, match="have no use for 'nearest'"):
        TransportMap(P, "nearest", (f, g))


def test_points_that_may_go_nowhere_are_refused() -> None:
    """A cost that forbids to go far: a point from which everything is far has no image."""

    def near(x: Tensor, y: Tensor) -> Tensor:
        apart = (x - y).square().sum(-1)
        return apart.masked_fill(apart > 100, math.inf)

    x, far = cloud(4, 2), torch.full((1, 2), 50.0).double()
    for method, epsilon in (("barycentric", 0.3), ("brenier", 0.0)):
        P = monge.solve(Linear(PointCloud(x, x, near), epsilon=epsilon)).coupling
        assert bool(P.map(x, method=method).isfinite().all())
        with pytest.raises(InfeasibleError, match="must have a target point that the cost allows"):
            P.map(far, method=method)


# ---------------------------------------------------------------------- memory


class LargestStorage(TorchDispatchMode):
    """Records the largest storage behind any result."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(answer):
            if isinstance(leaf, Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return answer


@pytest.mark.parametrize("method", ["barycentric", "nearest"])
@pytest.mark.parametrize("make", [PointCloud, Sphere], ids=["cloud", "sphere"])
def test_new_points_stream(method: str, make: Callable[[Tensor, Tensor], Geometry]) -> None:
    k, m = (100_000, 5000) if make is PointCloud else (20_000, 500)
    x, y, zero = cloud(m, 3, dtype=torch.float32), cloud(m, 3, seed=1, dtype=torch.float32), torch.zeros(m)
    P = PotentialCoupling(make(x, y), zero, zero, zero + 1 / m, zero + 1 / m, 0.1)
    new = cloud(k, 3, seed=2, dtype=torch.float32)
    with torch.no_grad(), LargestStorage() as seen:
        moved = P.map(new, method=method)
    assert moved.shape == new.shape
    assert seen.bytes < 2**24 < 4 * k * m

"""A function of one tensor for every row of the table of modes: small, in float64, at a point in general position."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import monge
from monge import kernels, sliced
from monge.coupling import DenseCoupling
from monge.geometry import CostMatrix, Line, PointCloud
from monge.gradient import Detached, Envelope, Unrolled
from monge.nn import Attention
from monge.nn.couplers import build, names
from monge.nn.functional import sinkhorn_attention, sliced_attention
from monge.problem import AtMost, Fixed, Linear, Relaxed
from monge.solver import Newton, Simplex, Sinkhorn, Sorted

D = torch.float64
Row = tuple[Callable[[Tensor], Tensor], tuple[int, ...]]
TINY = {
    "luna": {"projections": 2, "channels": 2, "hidden": 3, "output": "softplus"},
    "performer": {"size": 3},
    "pivots": {"pivots": 3},
    "entropic-pivots": {"pivots": 3},
    "causal-pivots": {"pivots": 3},
    "circuit": {"tokens": 4, "layers": 2},
    "blend": {"pivots": 3},
    "hybrid": {"pivots": 3},
    "prior": {"frequencies": 2, "hidden": 2},
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=D, generator=torch.Generator().manual_seed(seed))


X, Y, V = normal(4, 2, seed=1), normal(5, 2, seed=2), normal(5, 2, seed=3)
A, B = normal(4, seed=4).softmax(-1), normal(5, seed=5).softmax(-1)
K, VALUES = normal(4, 3, seed=20), normal(4, 2, seed=21)
U, W = normal(4, seed=6), normal(5, seed=7)
THETA = torch.nn.functional.normalize(normal(6, 2, seed=8), dim=-1)
FRAMES = torch.linalg.qr(normal(5, 3, 2, seed=9)).Q.mT.contiguous()
BALL = torch.nn.functional.normalize(normal(5, 3, seed=10), dim=-1)
EXACT = Sinkhorn(tol=1e-13)
FIXED_TREE = sliced.tree_system(X, Y, trees=2, lines=2, generator=torch.Generator().manual_seed(0))


def solved(x: Tensor, solver: object, epsilon: float = 0.5, **sides: object) -> object:
    return monge.solve(Linear(PointCloud(x, Y), epsilon=epsilon, **sides), solver)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def on_ball(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def attended(name: str) -> Row:
    torch.manual_seed(3)
    coupler = build(name, 2, 3, **TINY.get(name, {})).to(D).eval()
    with torch.no_grad():
        for parameter in coupler.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    keys, values = normal(1, 2, 4, 3, seed=12), normal(1, 2, 4, 3, seed=13)
    return lambda q: coupler.attend(q[None], keys + 0.5 * q[None].flip(-2), values), (2, 4, 3)


def whole_attention() -> Row:
    torch.manual_seed(4)
    layer = Attention(6, 2, coupler="pivots").to(D).eval()
    return lambda tokens: layer(tokens)[0], (4, 6)


ROWS: dict[str, Row] = {
    "couple, exact": (lambda x: monge.couple(x, Y[:4]).barycentric(x), (4, 2)),
    "couple, entropic": (lambda x: monge.couple(x, Y, epsilon=0.5, solver=EXACT).barycentric(V), (4, 2)),
    "couple, by Newton": (lambda x: monge.couple(x, Y, epsilon=0.3, solver=Newton(tol=1e-13)) @ V, (4, 2)),
    "couple, unbalanced": (
        lambda x: monge.couple(x, Y, epsilon=0.5, rho=1.3, solver=EXACT).transport_cost(),
        (4, 2),
    ),
    "couple, partial": (lambda x: monge.couple(x, Y, epsilon=0.5, mass=0.6, solver=EXACT).marginals()[0], (4, 2)),
    "couple, a learned cost": (
        lambda w: monge.couple(
            X, Y, cost=lambda p, q: ((p - q) @ w).square().sum(-1), epsilon=0.5, solver=EXACT
        ).barycentric(V),
        (2, 2),
    ),
    "couple, weights": (
        lambda t: monge.couple(X, Y, t.softmax(-1), B, epsilon=0.5, solver=EXACT).barycentric(V),
        (4,),
    ),
    "divergence": (lambda x: monge.divergence(x, Y, epsilon=0.5, solver=EXACT), (4, 2)),
    "divergence, weights": (lambda t: monge.divergence(X, Y, t.softmax(-1), B, epsilon=0.5, solver=EXACT), (4,)),
    "wasserstein, exact": (lambda x: monge.wasserstein(x, Y), (4, 2)),
    "wasserstein, exact, weights": (lambda t: monge.wasserstein(X, Y, t.softmax(-1), B), (4,)),
    "wasserstein, entropic": (lambda x: monge.wasserstein(x, Y, epsilon=0.5, solver=EXACT), (4, 2)),
    "pairwise": (lambda x: monge.pairwise([x, Y, V[:3]], metric="wasserstein")[0, 1:], (4, 2)),
    "barycenter": (lambda x: monge.barycenter([x, Y[:4]], size=4, start=X).points, (4, 2)),
    "barycenter_on": (
        lambda h: monge.barycenter_on(Line(U, U), h.softmax(-1), epsilon=8.0, debiased=False, tol=1e-3),
        (2, 4),
    ),
    "solve, Implicit": (lambda x: solved(x, EXACT).value, (4, 2)),
    "solve, Implicit, potentials": (lambda x: solved(x, EXACT).f, (4, 2)),
    "solve, Unrolled": (
        lambda x: solved(x, Sinkhorn(max_iter=3, gradient=Unrolled())).coupling.barycentric(V),
        (4, 2),
    ),
    "solve, Envelope, value": (lambda x: solved(x, Sinkhorn(tol=1e-13, gradient=Envelope())).value, (4, 2)),
    "couple, Envelope": (
        lambda x: monge.couple(x, Y, epsilon=0.5, solver=Sinkhorn(gradient=Envelope())).barycentric(V),
        (4, 2),
    ),
    "solve, Detached": (lambda x: solved(x, Sinkhorn(gradient=Detached())).value, (4, 2)),
    "solve, Simplex": (lambda x: solved(x, Simplex(), epsilon=0.0, source=A, target=B).value, (4, 2)),
    "solve, Sorted": (lambda u: monge.solve(Linear(Line(u, W), A, B), Sorted()).value, (4,)),
    "solve, Sorted, weights": (
        lambda t: monge.solve(Linear(Line(U, W), t.softmax(-1), B), Sorted()).coupling @ V,
        (4,),
    ),
    "solve, Simplex, unbalanced": (
        lambda c: monge.solve(Linear(CostMatrix(c.square()), Relaxed(A, 0.7, "tv"), Relaxed(B, 0.9, "tv"))).value,
        (4, 5),
    ),
    "solve, exact partial": (
        lambda c: monge.solve(Linear(CostMatrix(c.square()), AtMost(A), AtMost(B), mass=0.63)).value,
        (4, 5),
    ),
    "solve, exact, points and weights": (
        lambda t: monge.solve(Linear(PointCloud(t[:, :2], Y), Fixed(t[:, 2].softmax(-1)), Fixed(B)), Simplex()).value,
        (4, 3),
    ),
    "couple, exact, weights": (
        lambda t: monge.couple(X, Y, t.softmax(-1), B, solver=Simplex()) @ V,
        (4,),
    ),
    "Coupling.entropy": (lambda m: DenseCoupling(m.exp()).entropy(), (4, 5)),
    "Coupling.kl": (lambda m: DenseCoupling(m.softmax(-1) / 4).kl(torch.full((4,), 0.25, dtype=D), B), (4, 5)),
    "Coupling.round": (lambda m: DenseCoupling(m.exp() / 20).round(A, B).dense(), (4, 5)),
    "sliced_wasserstein": (lambda x: sliced.sliced_wasserstein(x, Y, theta=THETA).cost, (4, 2)),
    "sliced_wasserstein, order 3": (lambda x: sliced.sliced_wasserstein(x, Y, theta=THETA, p=3.0).distance, (4, 2)),
    "sliced_wasserstein, weights": (
        lambda t: sliced.sliced_wasserstein(X, Y, t.softmax(-1), B, theta=THETA).cost,
        (4,),
    ),
    "sliced_wasserstein, directions": (lambda t: sliced.sliced_wasserstein(X, Y, theta=t).cost, (3, 2)),
    "sliced_wasserstein, spheres": (
        lambda x: sliced.estimate(x, Y, slicer=sliced.Spheres(THETA)).cost,
        (4, 2),
    ),
    "sliced_wasserstein, drawn": (
        lambda x: sliced.sliced_wasserstein(x, Y, slices=4, generator=seeded()).cost,
        (4, 2),
    ),
    "energy_based_sliced_wasserstein": (
        lambda x: sliced.energy_based_sliced_wasserstein(x, Y, slicer=sliced.Linear(THETA)).cost,
        (4, 2),
    ),
    "spherical_sliced_wasserstein": (
        lambda x: sliced.spherical_sliced_wasserstein(on_ball(x), BALL, frame=FRAMES).cost,
        (4, 3),
    ),
    "tree_sliced_wasserstein": (lambda x: sliced.tree_sliced_wasserstein(x, Y, system=FIXED_TREE).cost, (4, 2)),
    "sliced_gromov_wasserstein": (
        lambda x: sliced.sliced_gromov_wasserstein(x, Y[:4], theta=THETA).cost,
        (4, 2),
    ),
    "sliced_partial_wasserstein": (
        lambda x: sliced.sliced_partial_wasserstein(x, Y, penalty=0.8, theta=THETA).cost,
        (4, 2),
    ),
    "sliced_embedding": (lambda x: sliced.sliced_embedding(x, theta=THETA, size=6), (4, 2)),
    "expected_sliced_plan": (
        lambda x: sliced.expected_sliced_plan(x, Y, slicer=sliced.Linear(THETA), inverse_temperature=2.0).barycentric(
            V
        ),
        (4, 2),
    ),
    "lap_sort": (lambda s: sliced.plan.lap_sort(s, 0.5), (5,)),
    "pairwise_sliced_wasserstein": (
        lambda x: sliced.pairwise_sliced_wasserstein([x, Y], theta=THETA)[0, 1],
        (4, 2),
    ),
    "circular_wasserstein": (lambda u: sliced.circular_wasserstein(u, W, circumference=5.0), (4,)),
    "linear_circular_wasserstein": (lambda u: sliced.sphere.linear_circular_wasserstein(u, W, circumference=5.0), (4,)),
    "circular_uniformity": (lambda u: sliced.sphere.circular_uniformity(u, circumference=5.0), (4,)),
    "circular_embedding": (lambda u: sliced.sphere.circular_embedding(u, size=8, circumference=5.0), (4,)),
    "spherical_embedding": (lambda x: sliced.sphere.spherical_embedding(on_ball(x), frame=FRAMES, size=8), (4, 3)),
    "spherical_sliced_partial_wasserstein": (
        lambda x: sliced.partial.spherical_sliced_partial_wasserstein(on_ball(x), BALL, penalty=0.1, frame=FRAMES).cost,
        (4, 3),
    ),
    "distance_profiles": (lambda x: sliced.gromov.distance_profiles(PointCloud(x, x), size=6), (4, 2)),
    "soft_sort": (lambda s: sliced.plan.soft_sort(s, 0.5), (5,)),
    "kernels.top_k": (lambda x: kernels.top_k(kernels.Points(x, Y), W, 2)[0], (4, 2)),
    "kernels.ctransform": (lambda x: kernels.ctransform(kernels.Points(x, Y), W)[0], (4, 2)),
    "kernels.extract": (lambda x: kernels.extract(kernels.Points(x, Y), U, W, 1.0, 1e-9)[2], (4, 2)),
    "kernels.occupancy": (lambda q: kernels.occupancy(q, K[:3], W[:3]), (4, 3)),
    "kernels.balanced_apply": (lambda q: kernels.balanced_apply(q, K, VALUES, A, A, 5), (4, 3)),
    "kernels.partial_cost, weights": (
        lambda t: kernels.partial_cost(U, W, t.exp(), B * 4, rule="penalty", level=torch.tensor(0.6, dtype=D)),
        (4,),
    ),
    "kernels.partial_cost, points and weights": (
        lambda t: kernels.partial_cost(t[0], W, t[1].exp(), B * 4, rule="penalty", level=torch.tensor(0.6, dtype=D)),
        (2, 4),
    ),
    "kernels.assignment, potentials": (lambda c: kernels.assignment(c).f, (4, 4)),
    "kernels.line_potentials": (lambda u: kernels.line_potentials(u, W)[0], (4,)),
    "kernels.sinkhorn": (lambda x: kernels.sinkhorn(kernels.Points(x, Y), W, A.log(), B.log(), 0.7)[0], (4, 2)),
    "Geometry.dense": (lambda x: PointCloud(x, Y, "euclidean").dense(), (4, 2)),
    "Geometry.mean": (lambda x: PointCloud(x, Y).mean(), (4, 2)),
    "Coupling.top_k": (lambda x: monge.couple(x, Y, epsilon=0.5, solver=EXACT).top_k(2).w, (4, 2)),
    "solve, prices": (
        lambda r: (
            monge.solve(
                Linear(PointCloud(X, Y), Relaxed(A, r.exp()[0]), Relaxed(B, r.exp()[1]), epsilon=0.5), EXACT
            ).value
        ),
        (2,),
    ),
    "kernels.softmin": (lambda x: kernels.softmin(kernels.Points(x, Y), W, 0.6), (4, 2)),
    "kernels.apply": (lambda x: kernels.apply(kernels.Points(x, Y, p=2.0, power=1.5), U, W, V, 0.8), (4, 2)),
    "kernels.line_distance": (lambda u: kernels.line_distance(u, W, A, B, 3.0), (4,)),
    "kernels.circle_distance": (lambda u: kernels.circle_distance(0.2 * u, 0.2 * W, A, B, 2.0), (4,)),
    "kernels.linear_circle_distance": (lambda u: kernels.linear_circle_distance(0.2 * u, 0.2 * W, A, B, 2.0), (4,)),
    "kernels.monotone": (lambda t: kernels.monotone(t.softmax(-1), B)[2], (4,)),
    "kernels.partial_cost": (
        lambda u: kernels.partial_cost(u, W, rule="penalty", level=torch.tensor(0.6, dtype=D)),
        (4,),
    ),
    "kernels.argsort": (lambda u: kernels.argsort(u)[0] ** 3, (4,)),
    "functional.sinkhorn_attention, implicit": (
        lambda q: sinkhorn_attention(q, K, VALUES, n_half=101, gradient="implicit"),
        (4, 3),
    ),
    "functional.sliced_attention": (
        lambda q: sliced_attention(q, K, VALUES, inverse_temperature=1.0),
        (4, 3),
    ),
    "nn.Attention": whole_attention(),
    **{f"attention, {name}": attended(name) for name in names()},
}

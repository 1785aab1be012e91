"""Every cell of the table of modes, against finite differences in float64; and no tangent that is silently zero."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward
from rows_of_modes import ROWS, A, B, D, X, Y, normal
from torch import Tensor

import monge
from monge import sliced
from monge.errors import CapabilityError, InputError
from monge.geometry import CostMatrix, Line, PointCloud
from monge.gradient import MODE_TABLE, MODES, Unrolled
from monge.nn.couplers import names
from monge.problem import AtMost, Fixed, Free, Linear, Relaxed
from monge.solver import Sinkhorn
from sweep import sweep

# Torch itself compiles formulas the first time that a dual tensor is made.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
STEP = 1e-5


class Differentiated:
    """A row at one point, in one direction, with one cotangent: what it is by finite differences and in every mode."""

    def __init__(self, row: str) -> None:
        self.f, shape = ROWS[row]
        self.x, self.v = normal(*shape, seed=30), normal(*shape, seed=31)
        self.w = normal(*self.f(self.x).shape, seed=32)

    def loss(self, x: Tensor) -> Tensor:
        return (self.f(x) * self.w).sum()

    def slope(self, x: Tensor, *, twice: bool = False) -> Tensor:
        x = x.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(self.loss(x), x, create_graph=twice)
        if not twice:
            return slope
        if not slope.requires_grad:  # linear in the points, the plan being fixed
            return torch.zeros_like(x)
        return torch.autograd.grad((slope * self.v).sum(), x, allow_unused=True, materialize_grads=True)[0]

    def difference(self, function) -> Tensor:
        return (function(self.x + STEP * self.v) - function(self.x - STEP * self.v)) / (2 * STEP)

    def expected(self, mode: str) -> Tensor:
        """What is right, by finite differences of the level below."""
        if mode in ("forward_ad", "func.jvp"):
            return self.difference(self.f)
        if mode in ("backward", "func.grad", "func.vjp"):
            return self.difference(self.loss)
        if mode in ("double backward", "func.jvp of func.grad"):
            return self.difference(self.slope)
        return torch.stack([self.f(self.x), self.f(self.x + 0.01 * self.v)])

    def found(self, mode: str) -> Tensor:
        """The same by the mode itself; gradients are contracted with the direction."""
        x, v = self.x, self.v
        if mode == "backward":
            return (self.slope(x) * v).sum()
        if mode == "double backward":
            return self.slope(x, twice=True)
        if mode == "forward_ad":
            with forward.dual_level():
                tangent = forward.unpack_dual(self.f(forward.make_dual(x, v))).tangent
            return torch.zeros_like(self.f(x)) if tangent is None else tangent
        if mode == "func.grad":
            return (torch.func.grad(self.loss)(x) * v).sum()
        if mode == "func.vjp":
            return (torch.func.vjp(self.f, x)[1](self.w)[0] * v).sum()
        if mode == "func.jvp":
            return torch.func.jvp(self.f, (x,), (v,))[1]
        if mode == "func.jvp of func.grad":
            return torch.func.jvp(torch.func.grad(self.loss), (x,), (v,))[1]
        return torch.vmap(self.f)(torch.stack([x, x + 0.01 * v]))


def test_the_table_and_its_rows_are_one():
    assert {row for row, _ in MODE_TABLE} == set(ROWS)
    assert len(MODE_TABLE) == len(ROWS) * len(MODES)
    assert {f"attention, {name}" for name in names()} <= set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_every_cell(row):
    told = Differentiated(row)
    for mode in MODES:
        cell = MODE_TABLE[row, mode]
        if cell == "none":
            assert not told.f(told.x.clone().requires_grad_()).requires_grad
        elif cell == "refused":
            with pytest.raises(CapabilityError, match=r"detach|Implicit"):
                told.found(mode)
        elif cell == "randomness":
            with pytest.raises(InputError, match="randomness='same'"):
                told.found(mode)
            same = torch.vmap(told.f, randomness="same")(torch.stack([told.x, told.x]))
            torch.testing.assert_close(same[0], same[1])
        else:
            expected = told.expected(mode)
            scale = float(expected.detach().abs().max()) + 1e-2
            error = float((told.found(mode).detach() - expected.detach()).abs().max())
            assert error <= 5e-5 * scale, f"{row}, {mode}: off by {error} at a scale of {scale}"


SIDES = (
    lambda a, b: (a, b, None),
    lambda a, b: (Relaxed(a, 0.9), Relaxed(1.5 * b, 1.4), None),
    lambda a, b: (Relaxed(a, 0.8, "l2"), Fixed(1.2 * b), None),
    lambda a, b: (Relaxed(a, 1.1, "tv"), Relaxed(1.5 * b, 1.1, "tv"), None),
    lambda a, b: (Fixed(a), Free(b), None),
    lambda a, b: (AtMost(a), AtMost(1.2 * b), torch.tensor(0.55, dtype=D)),
)
COSTS = (
    lambda x, y: PointCloud(x, y),
    lambda x, y: PointCloud(x, y, "euclidean", power=1.5),
    lambda x, y: PointCloud(x, y, "cosine"),
    lambda x, y: CostMatrix((x[..., :, None, :] - y[..., None, :, :]).square().sum(-1)),
    lambda x, y: Line(x[..., 0], y[..., 0]),
)
QUESTIONS = (
    lambda solution, v: solution.value,
    lambda solution, v: solution.f,
    lambda solution, v: solution.coupling.barycentric(v),
    lambda solution, v: torch.stack([solution.coupling.transport_cost(), solution.coupling.entropy()]),
    lambda solution, v: torch.cat(solution.coupling.marginals()),
)


def drawn(seed: int):
    """A question about a problem as a function of points and weights, with a point, a direction and a slope."""
    generator = torch.Generator().manual_seed(seed)

    def pick(options):
        return options[int(torch.randint(len(options), (), generator=generator))]

    def draw(*shape):
        return torch.randn(shape, dtype=D, generator=generator)

    n, m = (int(torch.randint(2, 6, (), generator=generator)) for _ in range(2))
    sides, costs, ask = pick(SIDES), pick(COSTS), pick(QUESTIONS)
    epsilon = 0.3 + float(torch.rand((), generator=generator))
    solver = pick((Sinkhorn(tol=1e-13), Sinkhorn(max_iter=3, gradient=Unrolled())))
    y, v = draw(m, 2), draw(m, 2)

    def answer(x, a):
        source, target, mass = sides(a.softmax(-1), torch.full((m,), 1 / m, dtype=D))
        return ask(monge.solve(Linear(costs(x, y), source, target, epsilon=epsilon, mass=mass), solver), v)

    point, way = (draw(n, 2), draw(n)), (draw(n, 2), draw(n))
    return answer, point, way, draw(*answer(*point).shape)


@sweep(20, 2_000)
def test_forward_mode_is_the_transpose_of_reverse_mode_and_right(seeds):
    for seed in seeds:
        answer, point, way, slope = drawn(seed)
        _, tangent = torch.func.jvp(answer, point, way)
        leaves = [t.clone().requires_grad_() for t in point]
        found = torch.autograd.grad(answer(*leaves), leaves, slope, allow_unused=True, materialize_grads=True)
        back = sum((g * t).sum() for g, t in zip(found, way, strict=True))
        ahead = (tangent * slope).sum()
        moved = [answer(*(p + sign * STEP * t for p, t in zip(point, way, strict=True))) for sign in (1, -1)]
        numeric = ((moved[0] - moved[1]) / (2 * STEP) * slope).sum()
        scale = float(slope.abs().sum() * tangent.abs().max()) + 1e-2
        assert float((ahead - back).abs()) <= 1e-7 * scale, f"seed {seed}: jvp {ahead} but vjp {back}"
        assert float((ahead - numeric).abs()) <= 1e-3 * scale, f"seed {seed}: jvp {ahead} but differences {numeric}"


def test_a_penalty_on_the_gradient_of_slices_is_felt():
    """Next to another term a missing second derivative would go unnoticed."""
    x, theta = X.clone().requires_grad_(), torch.nn.functional.normalize(normal(8, 2, seed=40), dim=-1)
    (slope,) = torch.autograd.grad(sliced.sliced_wasserstein(x, Y, theta=theta).cost, x, create_graph=True)
    (felt,) = torch.autograd.grad(100 * slope.square().sum() + x.sum(), x)
    assert float((felt - 1).abs().max()) > 1


def test_what_carries_no_derivative_says_so_next_to_a_term_that_does():
    t = normal(4, seed=41).requires_grad_()
    plan = monge.couple(X, Y, t.softmax(-1), B)
    with pytest.raises(CapabilityError, match="An exact plan is not differentiated by weights"):
        ((plan @ Y).sum() + t.sum()).backward()


def test_an_answer_that_refuses_is_not_zero_beside_one_that_does_not():
    def both(t):
        solution = monge.solve(Linear(PointCloud(X, Y), t.softmax(-1), B))
        return solution.value, solution.coupling @ Y

    _, (value, moved) = torch.func.jvp(both, (A.log(),), (normal(4, seed=42),))
    assert bool(value.isfinite())
    assert bool(moved.isnan().any())


def test_parameters_of_modules_and_closures_are_seen():
    network = torch.nn.Linear(2, 3).to(D)

    def moved(weight):
        def cost(p, q):
            return (network(p) - network(q)).square().sum(-1)

        class Layer(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.network = network

            def forward(self):
                plan = monge.couple(X, Y, cost=cost, epsilon=0.5, solver=Sinkhorn(tol=1e-13))
                return plan.barycentric(Y)

        return torch.func.functional_call(Layer(), {"network.weight": weight}, ())

    weight, way = network.weight.detach(), normal(3, 2, seed=43)
    expected = (moved(weight + STEP * way) - moved(weight - STEP * way)) / (2 * STEP)
    _, tangent = torch.func.jvp(moved, (weight,), (way,))
    torch.testing.assert_close(tangent, expected.detach(), rtol=1e-5, atol=1e-7)
    leaf = weight.clone().requires_grad_()
    (slope,) = torch.autograd.grad(moved(leaf).sum(), leaf)
    torch.testing.assert_close((slope * way).sum(), tangent.sum(), rtol=1e-7, atol=1e-9)


def test_random_directions_are_the_same_in_value_and_derivative():
    def cost(x):
        return sliced.sliced_wasserstein(x, Y, slices=4).cost

    torch.manual_seed(5)
    slope = torch.func.grad(cost)(X)
    torch.manual_seed(5)
    leaf = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(cost(leaf), leaf)
    torch.testing.assert_close(slope, expected)
    assert float(torch.rand(())) == float(torch.rand((), generator=_advanced()))


def _advanced() -> torch.Generator:
    """A generator where the default one was before its last draw."""
    torch.manual_seed(5)
    sliced.sliced_wasserstein(X, Y, slices=4)
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return generator


def test_answers_of_different_shape_are_not_stacked():
    def sparse(x):
        return monge.couple(x, Y, epsilon=0.05).sparse(threshold=1e-3).w

    with pytest.raises(monge.TransportError, match="one shape"):
        torch.vmap(sparse)(torch.stack([X, 0.01 * X]))


def test_values_are_checked_under_vmap_too():
    clouds = torch.stack([X, X])
    clouds[1, 0, 0] = torch.nan
    with pytest.raises(InputError, match="neither NaN nor inf"):
        torch.vmap(lambda x: monge.solve(Linear(PointCloud(x, Y), epsilon=0.5)).value)(clouds)


def test_searched_and_unbalanced_slices_have_one_derivative():
    slicer = sliced.Linear(torch.nn.functional.normalize(normal(4, 2, seed=44), dim=-1))
    for cost in (
        lambda x: sliced.max_sliced_wasserstein(x, Y, steps=3, restarts=0)[0].cost,
        lambda x: sliced.unbalanced_sliced_wasserstein(x, Y, slicer=slicer, rho=1.0)[0].cost,
        lambda x: sliced.estimate(x, Y, slicer=slicer, line=sliced.Unbalanced(1.0)).cost,
    ):
        leaf = X.clone().requires_grad_()
        (slope,) = torch.autograd.grad(cost(leaf), leaf, create_graph=True)
        _, tangent = torch.func.jvp(cost, (X,), (torch.ones_like(X),))
        torch.testing.assert_close(tangent, slope.detach().sum())
        with pytest.raises(CapabilityError, match="a first derivative only"):
            (slope.square().sum() + leaf.sum()).backward()

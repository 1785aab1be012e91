"""Transport with a linear cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import broadcast_shapes, pick, working_dtype
from monge._checks import check_batches, check_number, check_weights
from monge._transforms import transformable
from monge._value import value
from monge.errors import InputError
from monge.geometry import CostMatrix, Geometry, Grid, PointCloud, cost_between

from ._sides import as_mass, as_prices, fitted, flattened, side_at
from .at_most import AtMost
from .base import Plan, Problem
from .epsilon import Relative, check_epsilons
from .fixed import Fixed
from .marginal import Constraint, Marginal, column, log_weights, pairing, rounding
from .penalty import PENALTIES

__all__ = ["Linear", "Terms"]


class Terms(NamedTuple):
    """The parts of a linear objective.

    Args:
        cost: <C, P>.
        entropy: epsilon KL(P | a⊗b).
        source: The price of missing the row marginal, S(P 1).
        target: The price of missing the column marginal, T(P^T 1).
    """

    cost: Float[Tensor, "*b"]
    entropy: Float[Tensor, "*b"]
    source: Float[Tensor, "*b"]
    target: Float[Tensor, "*b"]


@value
class Linear(Problem):
    """Transport at the least cost, with or without entropy, and with one condition for each marginal.

    min_P <C, P> + epsilon KL(P | a⊗b) + S(P 1) + T(P^T 1), and sum P = mass if a mass is given, where
    KL(P | Q) = sum P log(P / Q) - P + Q. One marginal object per side gives S and T, so that balanced,
    unbalanced, semi-relaxed and partial transport are combinations of `Fixed`, `Relaxed`, `AtMost` and
    `Free`.

    Args:
        geometry: The cost.
        source: What is asked of the row marginal; a tensor means `Fixed`, None uniform weights of mass one.
        target: What is asked of the column marginal, likewise. If both sides are fixed, a difference of their
            masses within rounding is removed by scaling the target. Weights in half precision are kept in float32.
        epsilon: Strength of the entropy, in units of the cost: a number, a tensor with one number per
            problem, or `relative`. Zero is exact transport.
        mass: Total mass to move, at most the mass of either side; both sides must be `AtMost` or `Fixed`.

    Raises:
        InfeasibleError: If fixed masses differ, or more mass is asked for than a side has.
        ShapeError, DtypeError, DeviceError: If weights and cost do not fit together.
        InputError: If epsilon or mass is out of range.

    Example:
        >>> import torch
        >>> from monge.geometry import CostMatrix
        >>> from monge.problem import Linear
        >>> Linear(CostMatrix(torch.eye(2)), epsilon=0.1).shape
        (2, 2)
    """

    geometry: Geometry
    # What is stored; the constructor also takes what its signature below says.
    source: Marginal = None  # type: ignore[assignment]
    target: Marginal = None  # type: ignore[assignment]
    epsilon: Float[Tensor, "*b"] = 0.0  # type: ignore[assignment]
    mass: Float[Tensor, "*b"] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            geometry: Geometry,
            source: Marginal | Tensor | None = None,
            target: Marginal | Tensor | None = None,
            epsilon: float | Tensor | Relative = 0.0,
            mass: float | Tensor | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        geometry, epsilon, mass = self.geometry, self.epsilon, self.mass
        source, target = (
            side if isinstance(side, Marginal) else _uniform(n, geometry) if side is None else Fixed(side)
            for side, n in zip((self.source, self.target), geometry.shape, strict=True)
        )
        if self.source is not None or self.target is not None:
            source, target = fitted(geometry, source, target)
        a = source.weights
        if isinstance(epsilon, Relative):
            epsilon = epsilon._resolved(geometry, a, target.weights)
        elif isinstance(epsilon, Tensor):
            check_epsilons(epsilon)
        else:
            check_number("epsilon", epsilon, low=0.0, high=torch.finfo(a.dtype).max)
            epsilon = torch.tensor(float(epsilon), dtype=a.dtype, device=a.device)
        if mass is not None:
            mass = as_mass(mass, source, target)
        for name, content in {"source": source, "target": target, "epsilon": epsilon, "mass": mass}.items():
            object.__setattr__(self, name, content)
        if epsilon.ndim or mass is not None:
            check_batches(
                cost=geometry.batch_shape,
                source=a.shape[:-1],
                target=target.weights.shape[:-1],
                epsilon=epsilon.shape,
                mass=() if mass is None else mass.shape,
            )

    @classmethod
    def between(
        cls,
        x: Float[Tensor, "*b n d"] | Geometry,
        y: Float[Tensor, "*b m d"] | None = None,
        a: Float[Tensor, "..."] | None = None,
        b: Float[Tensor, "..."] | None = None,
        *,
        cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
        epsilon: float | Tensor | Relative = 0.0,
        mass: float | Tensor | None = None,
        rho: float | Tensor | tuple[float | Tensor, float | Tensor] | None = None,
        penalty: str = "kl",
    ) -> Linear:
        """The problem between two clouds, or on a geometry, in the words of `monge.couple`.

        Args:
            x: Sources, or a geometry that holds both sides.
            y: Targets.
            a: Weights (*b, n) of the sources, 1/n each if None; on a `monge.geometry.Grid` they may have its shape.
            b: Weights (*b, m) of the targets.
            cost: A name of `monge.geometry.COSTS`, or a function as in `monge.geometry.PointCloud`.
            epsilon: Strength of the entropy, or `relative`.
            mass: Total mass to move: both sides are `AtMost` then.
            rho: Price of missing a marginal, or a pair of prices, for the rows and for the columns. A side is `Relaxed`
                then, but `Fixed` where the price is infinite, and `Free` where it is zero.
            penalty: How a marginal may be missed, a name of `PENALTIES`.

        Raises:
            InputError: If an argument is wrong, or two of them contradict each other.

        Example:
            >>> import torch
            >>> from monge.problem import Linear
            >>> Linear.between(torch.rand(3, 2), torch.rand(4, 2), rho=1.0).source
            Relaxed(weights=float32[3], rho=1.0, penalty='kl')
        """
        if not isinstance(x, Geometry):
            if y is None:
                raise InputError(
                    "y must be given: pass two clouds, as in couple(x, y), or one geometry that holds both sides; "
                    "a matrix of costs is CostMatrix(cost)."
                )
            x = cost_between(x, y, cost)
        elif y is not None or cost != "sqeuclidean":
            name = "y" if y is not None else f"cost={cost!r}"
            raise InputError(
                f"{name} must be left out when the first argument is a geometry, which holds both sides and their "
                "costs: weights are a= and b=."
            )
        if rho is not None and mass is not None:
            raise InputError(f"Give either rho or mass, but got rho={rho} and mass={mass}: both decide how much moves.")
        if penalty != "kl" and rho is None:
            PENALTIES.require(penalty)
            raise InputError(f"penalty={penalty!r} needs a price, but rho is not given: pass rho too, or leave it out.")

        def side(name: str, weights: Tensor | None, shape: tuple[int, ...], price: Any) -> Marginal | None:
            if weights is not None:
                weights = flattened(weights, shape)
                check_weights(name, weights, math.prod(shape))
            elif rho is None and mass is None:
                return None
            given = _uniform(math.prod(shape), x).weights if weights is None else weights
            if rho is not None:
                return side_at(price, given, penalty)
            return (Fixed if mass is None else AtMost)._make(weights=given)

        prices = (None, None) if rho is None else as_prices(rho)
        shapes = (x.source_shape, x.target_shape) if isinstance(x, Grid) else ((n,) for n in x.shape)
        source, target = map(side, ("a", "b"), (a, b), shapes, prices)
        return cls(x, source, target, epsilon=epsilon, mass=mass)

    @property
    def a(self) -> Float[Tensor, "*b n"]:
        """The reference weights of the rows."""
        return self.source.weights

    @property
    def b(self) -> Float[Tensor, "*b m"]:
        """The reference weights of the columns."""
        return self.target.weights

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the plan."""
        return self.geometry.shape

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions, those of cost, weights, epsilon and mass broadcast together."""
        mass = () if self.mass is None else self.mass.shape
        return broadcast_shapes(
            self.geometry.batch_shape, self.a.shape[:-1], self.b.shape[:-1], self.epsilon.shape, mass
        )

    @property
    def entropic(self) -> bool:
        """Whether epsilon is positive."""
        return bool((self.epsilon > 0).all())

    @property
    def balanced(self) -> bool:
        """Whether both marginals are fixed, so that potentials are known up to a constant."""
        return isinstance(self.source, Fixed) and isinstance(self.target, Fixed)

    @property
    def partial(self) -> bool:
        """Whether a mass is given that neither marginal decides, so that it has a multiplier of its own."""
        return self.mass is not None and isinstance(self.source, AtMost) and isinstance(self.target, AtMost)

    @property
    def traits(self) -> frozenset[str]:
        """What kind of problem it is, in the words of `monge.problem.TRAITS`."""
        entropic, (n, m) = self.entropic, self.shape
        found = {"linear", "entropic" if entropic else "exact"}
        if self.source.linear and self.target.linear:
            found.add("priced")
        if isinstance(self.geometry, PointCloud):
            found.add("points")
        if self.geometry._on_line() is not None:
            found.add("line")
        if self.balanced:
            found.add("balanced")
        if n == m:
            found.add("square")
        if not entropic and _equal(self.a) and _equal(self.b):
            found.add("uniform")
        return frozenset(found)

    @property
    def T(self) -> Linear:  # noqa: N802 - the mathematics says T
        """The same problem with rows and columns exchanged."""
        return self._replace(geometry=self.geometry.T, source=self.target, target=self.source)

    @transformable
    def primal(self, P: Plan) -> Float[Tensor, "*b"]:
        """The objective at a plan, +inf if the plan breaks a constraint by more than rounding.

        Args:
            P: A plan of the shape of the problem.

        Returns:
            <C, P> + epsilon KL(P | a⊗b) + S(P 1) + T(P^T 1), per problem.
        """
        row, col = P.marginals()
        value = self._cost(P) + self.source._penalty(row) + self.target._penalty(col)
        if self.mass is None:
            return value
        met = (row.sum(-1) - self.mass).abs() <= rounding(row.dtype) * self.mass
        return torch.where(met, value, math.inf)

    @transformable
    def terms(self, P: Plan) -> Terms:
        """The parts of the objective at a plan; a constraint has the price zero, even if it is met only nearly.

        Args:
            P: A plan of the shape of the problem.

        Example:
            >>> import torch
            >>> from monge import solve
            >>> from monge.problem import Linear
            >>> x = torch.tensor([[0.0], [1.0]])
            >>> solve(Linear.between(x, x + 1)).terms.cost
            tensor(1.)
        """
        row, col = P.marginals()
        cost = P.transport_cost(self.geometry)
        entropy = self.epsilon * P.kl(self.a, self.b) if self.entropic else torch.zeros_like(cost)
        source, target = (
            torch.zeros_like(cost) if isinstance(side, Constraint) else side._penalty(mu)
            for side, mu in ((self.source, row), (self.target, col))
        )
        return Terms(cost, entropy, source, target)

    @transformable
    def dual(self, f: Float[Tensor, "*b n"], g: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        """A lower bound of the objective of every plan, from any pair of potentials.

        It is -S*(-f) - T*(-g) - epsilon sum_ij a_i b_j (exp((f_i + g_j - C_ij) / epsilon) - 1). At epsilon = 0 the
        potentials must satisfy f_i + g_j <= C_ij, and f is lowered until they do. With a mass only f_i + g_j
        matters: the multiplier s = max f + max g is split off, and s mass is added.

        Args:
            f: Potential of the rows.
            g: Potential of the columns.

        Returns:
            The bound, per problem; it is tight at the solution.
        """
        if not self.entropic:
            return self._conjugates(self._lowered(f, g), g)
        q = self._row_transform(g)
        total = pairing(self.a, torch.exp((f - q) / column(self.epsilon)))
        return self._conjugates(f, g) - self.epsilon * (total - self.source.total * self.target.total)

    @transformable
    def gap(
        self, P: Plan, f: Float[Tensor, "*b n"] | None = None, g: Float[Tensor, "*b m"] | None = None
    ) -> Float[Tensor, "*b"]:
        """How far a plan can be from optimal: its objective less the dual bound; zero at the solution.

        Where a constraint is met only to a tolerance, its violation is priced at the largest potential, which
        keeps the gap finite and non-negative.

        Args:
            P: A plan of the shape of the problem.
            f: Potential of the rows; None takes the potentials that P has.
            g: Potential of the columns, likewise.

        Returns:
            The gap, per problem.

        Raises:
            InputError: If no potentials are given and P has none.
        """
        f, g = getattr(P, "f", f) if f is None else f, getattr(P, "g", g) if g is None else g
        if f is None or g is None:
            raise InputError(
                f"gap needs potentials f and g, but a {type(P).__name__} carries none: pass those of a DualSolution."
            )
        row, col = P.marginals()
        return self._priced(self._cost(P), row, col, f, g) - self.dual(f, g)

    def _remembered(self) -> Geometry:
        return self.geometry

    def _select(self, index: Any) -> Linear:
        """Some problems of the batch; ``index`` is that of a tensor of shape ``batch_shape``."""
        batch = self.batch_shape
        return self._make(
            geometry=self.geometry._select(index, batch),
            source=self.source._select(index, batch),
            target=self.target._select(index, batch),
            epsilon=pick(self.epsilon, 0, batch, index),
            mass=pick(self.mass, 0, batch, index),
        )

    def _widened(self, dtype: torch.dtype) -> Linear:
        """The same problem in a wider dtype, differentiably; fixed masses, equal up to rounding, are equal there."""
        if self.a.dtype == self.geometry.dtype == dtype:
            return self
        wide = self.to(dtype)
        if not wide.balanced:
            return wide
        share = wide.a.sum(-1, keepdim=True) / wide.b.sum(-1, keepdim=True)
        return wide._replace(target=Fixed._make(weights=wide.b * share))

    def _stored(self) -> Linear:
        """The same problem with its costs held as a matrix, for those who read them many times."""
        if isinstance(self.geometry, CostMatrix):
            return self
        return self._replace(geometry=CostMatrix._make(cost=self.geometry._dense()))

    def _normalised(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Balanced potentials, known up to (f + c, g - c), at the c where <a, f> = <b, g>; others unchanged."""
        if not self.balanced:
            return f, g
        excess = (pairing(self.a, f) - pairing(self.b, g)) / (self.source.total + self.target.total)
        return f - column(excess), g + column(excess)

    def _settled(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials that sit on a kink tied to it, so that the dual value knows that they move with it."""
        return (f, g) if self.partial else (self.source._project(f), self.target._project(g))

    def _lowered(self, f: Tensor, g: Tensor) -> Tensor:
        """f, lowered until f_i + g_j <= C_ij."""
        lowered = torch.minimum(f, self.geometry._ctransform(torch.where(self.b > 0, g, -math.inf))[0])
        settled = self.source._project(lowered)
        if settled is lowered:
            return lowered
        # A potential at the edge of its domain may be lowered across it by rounding: that is undone.
        size = f.abs() + torch.where(self.b > 0, g, 0).abs().amax(-1, keepdim=True)
        return torch.where((settled - lowered).abs() <= 1e3 * torch.finfo(f.dtype).eps * size, settled, lowered)

    def _cost(self, P: Plan) -> Tensor:
        cost = P.transport_cost(self.geometry)
        return cost + self.epsilon * P.kl(self.a, self.b) if self.entropic else cost

    def _priced(self, cost: Tensor, row: Tensor, col: Tensor, f: Tensor, g: Tensor) -> Tensor:
        """The primal objective with violated constraints priced by the potentials."""
        if self.mass is not None:
            alpha, beta = self._split(f, g)
            f, g = f - column(alpha), g - column(beta)
            cost = cost + (alpha + beta).abs() * (row.sum(-1) - self.mass).abs()
        return cost + self.source._priced(row, f) + self.target._priced(col, g)

    def _conjugates(self, f: Tensor, g: Tensor) -> Tensor:
        """The terms of the dual that belong to the marginals and the mass."""
        if self.mass is None:
            return self.source._conjugate(f) + self.target._conjugate(g)
        alpha, beta = self._split(f, g)
        kept = self.source._conjugate(f - column(alpha)) + self.target._conjugate(g - column(beta))
        return kept + (alpha + beta) * self.mass

    def _split(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The two parts of the multiplier of the mass, folded into the potentials; zero without a mass."""
        if self.mass is None:
            zero = f.new_zeros(())
            return zero, zero
        return _largest(self.a, f), _largest(self.b, g)

    def _row_transform(self, g: Tensor) -> Tensor:
        """q_i = -epsilon log sum_j b_j exp((g_j - C_ij) / epsilon)."""
        return self.geometry._softmin(g, log_weights(self.b), self.epsilon)

    def _col_transform(self, f: Tensor) -> Tensor:
        """The same over the rows."""
        return self.geometry.T._softmin(f, log_weights(self.a), self.epsilon)


def _uniform(n: int, geometry: Geometry) -> Fixed:
    """Weights 1/n, in the dtype in which weights are kept."""
    return Fixed._make(weights=torch.full((n,), 1.0 / n, dtype=working_dtype(geometry.dtype), device=geometry.device))


def _equal(weights: Tensor) -> bool:
    """Whether the weights of each problem are one positive number."""
    if weights.ndim == 1:
        low, high = map(float, weights.detach().aminmax())
        return 0 < low == high
    return bool(((weights == weights[..., :1]) & (weights > 0)).all())


def _largest(a: Tensor, f: Tensor) -> Tensor:
    """The largest potential of a point that is present."""
    return torch.where(a > 0, f, -math.inf).amax(-1)

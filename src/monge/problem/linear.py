"""Transport with a linear cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import broadcast_shapes, pick, working_dtype
from monge._checks import check_same
from monge._transforms import transformable
from monge._value import value
from monge.errors import InfeasibleError, InputError, ShapeError
from monge.geometry import PointCloud

from .at_most import AtMost
from .base import Plan, Problem
from .epsilon import resolve
from .fixed import Fixed
from .marginal import Marginal, column, log_weights, pairing, rounding

if TYPE_CHECKING:
    from monge.geometry import Geometry

__all__ = ["Linear"]


@value
class Linear(Problem):
    """Move mass at the least cost, with or without entropy, with or without marginals that must be met.

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
        geometry = self.geometry
        like = torch.empty((), dtype=geometry.dtype, device=geometry.device)
        wide = working_dtype(geometry)
        source = _as_marginal(self.source, geometry.shape[0], like.to(wide))
        target = _as_marginal(self.target, geometry.shape[1], like.to(wide))
        _check_sides(geometry, source, target)
        _check_dtypes(like, source, target)
        if isinstance(source, Fixed) and isinstance(target, Fixed):
            target = Fixed._make(weights=_equalised(source, target).to(wide))
        # Half precision has too few digits for sums: weights are computed with as potentials are.
        source, target = source.to(wide), target.to(wide)
        epsilon = resolve(self.epsilon, geometry, source.weights, target.weights)
        mass = None if self.mass is None else _checked_mass(self.mass, source, target)
        for name, content in {"source": source, "target": target, "epsilon": epsilon, "mass": mass}.items():
            object.__setattr__(self, name, content)
        _check_batch(
            cost=geometry.batch_shape,
            source=source.weights.shape[:-1],
            target=target.weights.shape[:-1],
            epsilon=epsilon.shape,
            mass=torch.Size() if mass is None else mass.shape,
        )

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
        n, m = self.geometry.shape
        return n, m

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
        found = {"linear", "entropic" if self.entropic else "exact"}
        if self.source.linear and self.target.linear:
            found.add("priced")
        if isinstance(self.geometry, PointCloud):
            found.add("points")
        if self.geometry._on_line() is not None:
            found.add("line")
        if self.balanced:
            found.add("balanced")
        n, m = self.shape
        if n == m:
            found.add("square")
        if not self.entropic and _equal(self.a) and _equal(self.b):
            found.add("uniform")
        return frozenset(found)

    @property
    def T(self) -> Linear:  # noqa: N802 - the mathematics says T
        """The same problem with rows and columns exchanged."""
        return Linear._make(
            geometry=self.geometry.T,
            source=self.target,
            target=self.source,
            epsilon=self.epsilon,
            mass=self.mass,
        )

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
    def dual(self, f: Float[Tensor, "*b n"], g: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        """A lower bound of the objective of every plan, from any pair of potentials.

        -S*(-f) - T*(-g) - epsilon sum_ij a_i b_j (exp((f_i + g_j - C_ij) / epsilon) - 1). At epsilon = 0 the
        potentials must satisfy f_i + g_j <= C_ij, and f is lowered until they do. With a mass only f_i + g_j
        matters: the multiplier s = max f + max g is split off, and s mass is added.

        Args:
            f: Potential of the rows.
            g: Potential of the columns.

        Returns:
            The bound, per problem; it is tight at the solution.
        """
        if self.entropic:
            q = self._row_transform(g)
            total = pairing(self.a, torch.exp((f - q) / column(self.epsilon)))
            entropy = self.epsilon * (total - self.source.total * self.target.total)
        else:
            lowered = torch.minimum(f, self.geometry._ctransform(torch.where(self.b > 0, g, -math.inf))[0])
            # A potential at the edge of its domain may be lowered across it by rounding: that is undone.
            settled = self.source._project(lowered)
            size = f.abs() + torch.where(self.b > 0, g, 0).abs().amax(-1, keepdim=True)
            f = torch.where((settled - lowered).abs() <= 1e3 * torch.finfo(f.dtype).eps * size, settled, lowered)
            entropy = 0.0
        return self._conjugates(f, g) - entropy

    @transformable
    def gap(
        self, P: Plan, f: Float[Tensor, "*b n"] | None = None, g: Float[Tensor, "*b m"] | None = None
    ) -> Float[Tensor, "*b"]:
        """How far a plan can be from optimal: its objective less the dual bound; zero at the solution.

        Where a constraint is met only to a tolerance, its violation is priced at the largest potential, which
        keeps the gap finite and non-negative.

        Args:
            P: A plan of the shape of the problem.
            f: Potential of the rows; None takes those that P carries.
            g: Potential of the columns, likewise.

        Returns:
            The gap, per problem.

        Raises:
            InputError: If no potentials are given and P carries none.
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

    def _normalised(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Balanced potentials, known up to (f + c, g - c), at the c where <a, f> = <b, g>; others unchanged."""
        if not self.balanced:
            return f, g
        excess = (pairing(self.a, f) - pairing(self.b, g)) / (self.source.total + self.target.total)
        return f - column(excess), g + column(excess)

    def _settled(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials that sit on a kink tied to it, so that the dual value knows that they move with it."""
        return (f, g) if self.partial else (self.source._project(f), self.target._project(g))

    def _cost(self, P: Plan) -> Tensor:
        cost = P.transport_cost(self.geometry)
        return cost + self.epsilon * P.kl(self.a, self.b) if self.entropic else cost

    def _priced(self, cost: Tensor, row: Tensor, col: Tensor, f: Tensor, g: Tensor) -> Tensor:
        """The primal objective with violated constraints priced by the potentials."""
        alpha, beta = self._split(f, g)
        value = cost + self.source._priced(row, f - column(alpha)) + self.target._priced(col, g - column(beta))
        if self.mass is not None:
            value = value + (alpha + beta).abs() * (row.sum(-1) - self.mass).abs()
        return value

    def _conjugates(self, f: Tensor, g: Tensor) -> Tensor:
        """The terms of the dual that belong to the marginals and the mass."""
        alpha, beta = self._split(f, g)
        value = self.source._conjugate(f - column(alpha)) + self.target._conjugate(g - column(beta))
        return value if self.mass is None else value + (alpha + beta) * self.mass

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


def _equal(weights: Tensor) -> bool:
    """Whether the weights of each problem are one positive number."""
    return bool(((weights == weights[..., :1]) & (weights > 0)).all())


def _largest(a: Tensor, f: Tensor) -> Tensor:
    """The largest potential of a point that is present."""
    return torch.where(a > 0, f, -math.inf).amax(-1)


def _as_marginal(given: Marginal | Tensor | None, n: int, like: Tensor) -> Marginal:
    if isinstance(given, Marginal):
        return given
    if given is None:
        return Fixed._make(weights=torch.full((n,), 1.0 / n, dtype=like.dtype, device=like.device))
    return Fixed(given)


def _check_dtypes(like: Tensor, source: Marginal, target: Marginal) -> None:
    """Weights must have the dtype of the cost; beside a cost in half precision float32 will do."""
    half = like.dtype in (torch.float16, torch.bfloat16)
    held = {"source": source.weights, "target": target.weights}
    check_same(
        cost=like,
        **{name: w.to(like.dtype) if half and w.dtype == torch.float32 else w for name, w in held.items()},
    )


def _check_sides(geometry: Geometry, source: Marginal, target: Marginal) -> None:
    for side, marginal, n in zip(("source", "target"), (source, target), geometry.shape, strict=True):
        if marginal.weights.shape[-1] != n:
            raise ShapeError(
                f"{side} must have one weight for each of the {n} points of its side of the cost, "
                f"but has {marginal.weights.shape[-1]}: source belongs to the rows, target to the columns."
            )
    _check_batch(cost=geometry.batch_shape, source=source.weights.shape[:-1], target=target.weights.shape[:-1])


def _check_batch(**shapes: torch.Size) -> None:
    try:
        broadcast_shapes(*shapes.values())
    except RuntimeError as error:
        told = ", ".join(f"{tuple(shape)} for {name}" for name, shape in shapes.items())
        raise ShapeError(
            f"batch dimensions must broadcast, but are {told}: give each one problem, or as many as the others."
        ) from error


def _equalised(source: Fixed, target: Fixed) -> Tensor:
    """The target weights in float64, scaled so that rounding does not make the problem infeasible."""
    given = target.weights.double()
    a, b = source.weights.detach().double().sum(-1), given.detach().sum(-1)
    difference = (a - b).abs() / torch.maximum(a, b)
    if bool((difference > max(rounding(side.weights.dtype) for side in (source, target))).any()):
        first = difference.argmax()
        a, b = (total.broadcast_to(difference.shape).reshape(-1)[first] for total in (a, b))
        raise InfeasibleError(
            "source and target must have the same mass when both are fixed, but have "
            f"{float(a):.9g} and {float(b):.9g}: normalise the weights, or use Relaxed, AtMost or mass=."
        )
    return given * column(a / b)


def _checked_mass(mass: float | Tensor, source: Marginal, target: Marginal) -> Tensor:
    weights = source.weights
    mass = torch.as_tensor(mass, dtype=weights.dtype, device=weights.device)
    slack = rounding(weights.dtype)
    for side, marginal in (("source", source), ("target", target)):
        if not isinstance(marginal, (Fixed, AtMost)):
            raise InputError(
                f"mass= needs a source and a target that are AtMost or Fixed, but {side} is "
                f"{type(marginal).__name__}: its price already decides the mass."
            )
        total = marginal.total.detach()
        if not bool(((mass > 0) & (mass <= total * (1 + slack))).all()):
            raise InfeasibleError(
                f"mass must be positive and at most the mass of {side}, {float(total.min()):.9g}, but is "
                f"{mass.tolist()}: ask for less, or add weight to {side}."
            )
        if isinstance(marginal, Fixed) and not bool(((mass - total).abs() <= slack * total).all()):
            raise InfeasibleError(
                f"{side} is Fixed with mass {float(total.min()):.9g}, so mass={mass.tolist()} contradicts it: "
                f"use AtMost for {side}."
            )
    return mass

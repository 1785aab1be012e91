"""What a transport problem is, and what it asks of a plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from monge._users_arrays import take_fields
from monge._value import Value
from monge.geometry import Geometry

__all__ = ["Plan", "Problem"]


class Plan(Protocol):
    """The methods of a transport plan that a problem uses; every `monge.coupling.Coupling` has them."""

    def marginals(self) -> tuple[Tensor, Tensor]:
        """The masses P 1 and P^T 1."""
        ...

    def transport_cost(self, geometry: Geometry | None = None) -> Tensor:
        """<P, C>."""
        ...

    def kl(self, a: Tensor, b: Tensor) -> Tensor:
        """KL(P | a⊗b)."""
        ...


class Problem(Value, ABC):
    """What is asked of a plan: an objective to minimise, over plans of one shape.

    A problem is a frozen value. Solvers say which problems they treat, `monge.solve` finds the plan, and ``primal``
    gives the objective of any plan.
    """

    # Whether solvers are given another problem, that of `_posed`.
    _differs: ClassVar[bool] = False

    _enter = take_fields

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the plan."""

    @property
    @abstractmethod
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""

    @property
    @abstractmethod
    def traits(self) -> frozenset[str]:
        """What kind of problem it is, in the words of `monge.problem.TRAITS`; solvers use the same words."""

    @abstractmethod
    def primal(self, P: Plan) -> Float[Tensor, "*b"]:
        """The objective at a plan, +inf if the plan breaks a constraint by more than rounding."""

    @abstractmethod
    def terms(self, P: Plan) -> Any:
        """The parts of the objective at a plan: a named tuple, in which each part has one number per problem."""

    @abstractmethod
    def gap(self, P: Plan) -> Float[Tensor, "*b"]:
        """How far a plan can be from optimal: its objective less a lower bound of all objectives."""

    def _posed(self) -> Problem:
        """The problem that solvers are given: of the same plans, with an objective that differs by a constant."""
        return self

    def _constant(self) -> Tensor:
        """By what this objective exceeds that of the problem that solvers are given."""
        return torch.zeros(())

    def _remembered(self) -> Geometry | None:
        """The cost that a plan which solves this problem answers for, if there is one."""
        return None

    @abstractmethod
    def _select(self, index: Any) -> Self:
        """Some problems of the batch; ``index`` is that of a tensor of shape ``batch_shape``."""

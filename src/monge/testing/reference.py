"""The matrix of each representation by its definition, in plain torch, without the methods that are tested."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge.coupling import (
    Coupling,
    DenseCoupling,
    FactoredCoupling,
    GluedCoupling,
    MixtureCoupling,
    PermutationCoupling,
    PotentialCoupling,
    ProductCoupling,
    SparseCoupling,
    SumCoupling,
)

from ._numbers import inverse

__all__ = ["reference_matrix"]


def reference_matrix(P: Coupling) -> Float[Tensor, "*b n m"]:
    """The matrix of a coupling by the definition of its class, differentiable; of an unknown class `P.dense()`.

    Args:
        P: A coupling.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling
        >>> from monge.testing import reference_matrix
        >>> reference_matrix(PermutationCoupling(torch.tensor([1, 0])))
        tensor([[0.0000, 0.5000],
                [0.5000, 0.0000]])
    """
    return _matrix(P).expand(P.shape)


def _matrix(P: Coupling) -> Tensor:
    match P:
        case DenseCoupling():
            return P.matrix
        case ProductCoupling():
            return P.a[..., :, None] * P.b[..., None, :] * inverse(P.total)[..., None, None]
        case PermutationCoupling():
            return P.weights[..., None] * _indicator(P.perm, P.perm.shape[-1], P.dtype)
        case SparseCoupling():
            rows, columns = _indicator(P.i, P.n, P.dtype), _indicator(P.j, P.m, P.dtype)
            return rows.mT @ (P.w[..., None] * columns)
        case FactoredCoupling():
            return torch.einsum("...ir,...r,...jr->...ij", P.Q, inverse(P.g), P.R)
        case PotentialCoupling():
            return _potential(P)
        case MixtureCoupling():
            return torch.einsum("...l,...lij->...ij", P.weights, reference_matrix(P.component))
        case GluedCoupling():
            return reference_matrix(P.P) @ (inverse(P.mu)[..., None] * reference_matrix(P.Q))
        case SumCoupling():
            return torch.stack(torch.broadcast_tensors(*(reference_matrix(term) for term in P.terms))).sum(0)
    return P.dense()


def _indicator(index: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """One row per entry, with a one in column ``index``."""
    return torch.nn.functional.one_hot(index, size).to(dtype)


def _potential(P: PotentialCoupling) -> Tensor:
    cost = P.geometry.dense()
    allowed = cost != math.inf
    # A point of no weight is absent, whatever its potential: it has no mass and no gradient.
    (f, a), (g, b) = ((_where_weighted(u, w), _where_weighted(w, w)) for u, w in ((P.f, P.a), (P.g, P.b)))
    room = f[..., :, None] + g[..., None, :] - torch.where(allowed, cost, 0)
    epsilon = P.epsilon[..., None, None] if isinstance(P.epsilon, Tensor) else P.epsilon
    link = (room / epsilon).exp() if P.link == "exp" else (room / epsilon).clamp_min(0)
    return torch.where(allowed, a[..., :, None] * b[..., None, :] * link, 0)


def _where_weighted(held: Tensor, weights: Tensor) -> Tensor:
    return torch.where(weights > 0, torch.where(weights > 0, held, torch.zeros_like(held)), 0)

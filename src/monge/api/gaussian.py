"""Transport between normal distributions, in closed form."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from monge._arrays import root
from monge._checks import (
    check_batches,
    check_finite,
    check_floating,
    check_number,
    check_points,
    check_same,
    check_weights,
)
from monge._users_arrays import take_fields, takes_arrays
from monge._value import Value, value
from monge.errors import ConvergenceWarning, InfeasibleError, InputError, ShapeError

from ._roots import pseudo_inverse, symmetric_root
from .affine_map import AffineMap
from .barycenter import check_shares

__all__ = ["Gaussian"]

# How far a covariance may be from symmetric, or below zero, as a share of its largest entry: digits of its dtype.
_DIGITS = 64


@value
class Gaussian(Value):
    r"""Normal distributions, between which transport has a closed form.

    With the covariances A and B, the squared distance is that of Bures and Wasserstein,
    $$W_2^2 = \lVert m_A - m_B\rVert^2 + \mathrm{tr} A + \mathrm{tr} B - 2\,\mathrm{tr}\,(A^{1/2} B A^{1/2})^{1/2},$$
    and the optimal map is affine. Covariances may be singular. Leading dimensions are independent problems and
    broadcast. Everything is computed in double precision and given back in the dtype of the inputs.

    Args:
        mean: The means; arrays and lists are taken too.
        covariance: The covariances, symmetric without negative eigenvalues, up to rounding.

    Raises:
        ShapeError, DtypeError, DeviceError: If mean and covariance do not fit together.
        InputError: If a number is not finite, or a covariance is not symmetric or has a negative eigenvalue.

    Example:
        >>> import torch
        >>> import monge
        >>> narrow = monge.Gaussian(torch.zeros(2), torch.eye(2))
        >>> wide = monge.Gaussian(torch.tensor([3.0, 0.0]), 9 * torch.eye(2))
        >>> narrow.transport_cost(wide)  # 9 for the mean, and 4 for each axis
        tensor(17.)
        >>> narrow.map_to(wide)(torch.tensor([[1.0, 1.0]]))
        tensor([[6., 3.]])

    Source: Peyre, Cuturi, Computational optimal transport (arXiv 1803.00567), remark 2.31.
    """

    mean: Float[Tensor, "*b d"]
    covariance: Float[Tensor, "*b d d"]

    _enter = take_fields

    def __post_init__(self) -> None:
        mean, covariance = self.mean, self.covariance
        for name, held in (("mean", mean), ("covariance", covariance)):
            check_floating(name, held)
        check_same(mean=mean, covariance=covariance)
        d = mean.shape[-1] if mean.ndim else 0
        if d == 0 or covariance.ndim < 2 or tuple(covariance.shape[-2:]) != (d, d):
            raise ShapeError(
                f"mean and covariance must have shapes (*batch, d) and (*batch, d, d), but have {tuple(mean.shape)} "
                f"and {tuple(covariance.shape)}: give both the same d."
            )
        check_batches(mean=mean.shape[:-1], covariance=covariance.shape[:-2])
        for name, held in (("mean", mean), ("covariance", covariance)):
            check_finite(name, held.detach())
        _check_semidefinite(covariance.detach())

    @classmethod
    @takes_arrays
    def of(cls, x: Float[Tensor, "*b n d"], a: Float[Tensor, "*#b n"] | None = None) -> Gaussian:
        r"""The normal distribution with the mean and the covariance of weighted points.

        The covariance is $\sum_i a_i (x_i - m)(x_i - m)^\top$ with weights that sum to one: it is that of the points
        themselves, without a correction for a sample.

        Args:
            x: The points.
            a: Their weights, scaled to sum one; with None all count the same.

        Returns:
            The distribution, which holds tensors.

        Raises:
            InputError: If points or weights are wrong.

        Example:
            >>> import torch
            >>> import monge
            >>> monge.Gaussian.of(torch.tensor([[1.0], [3.0]])).covariance
            tensor([[1.]])
        """
        check_points("x", x)
        wide, n = x.double(), x.shape[-2]
        if a is None:
            shares = wide.new_full((n,), 1.0 / n)
        else:
            check_weights("a", a, n)
            check_same(x=x, a=a)
            shares = a.double() / a.double().sum(-1, keepdim=True)
        mean = (shares[..., None] * wide).sum(-2)
        centred = wide - mean[..., None, :]
        covariance = centred.mT @ (shares[..., None] * centred)
        return cls._make(mean=mean.to(x.dtype), covariance=covariance.to(x.dtype))

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return torch.broadcast_shapes(self.mean.shape[:-1], self.covariance.shape[:-2])

    def transport_cost(self, other: Gaussian) -> Float[Tensor, "*b"]:
        """The squared distance W_2^2, which is what the optimal plan costs.

        Gradients reach means and covariances, to any order. In a direction in which a covariance is singular, the true
        derivative may be infinite; there it is defined as zero.

        Args:
            other: The distribution to compare with.

        Returns:
            One number per problem.

        Raises:
            InputError: If the two live in different spaces, dtypes or devices.
        """
        return self._squared(other).to(self.dtype)

    def distance(self, other: Gaussian) -> Float[Tensor, "*b"]:
        """The distance W_2, rooted; where it is zero, its gradient is defined as zero.

        Args:
            other: The distribution to compare with.

        Returns:
            One number per problem.

        Raises:
            InputError: If the two live in different spaces, dtypes or devices.
        """
        return root(self._squared(other), 2.0).to(self.dtype)

    def _squared(self, other: Gaussian) -> Tensor:
        """The squared distance, in double precision."""
        self._check_fits(other)
        moved = (self.mean.double() - other.mean.double()).square().sum(-1)
        a, b = self.covariance.double(), other.covariance.double()
        first = symmetric_root(a)
        cross = symmetric_root(first @ b @ first)
        told = _trace(a) + _trace(b) - 2 * _trace(cross)
        with torch.no_grad():
            # The sum above has derivatives, but loses the digits of a small distance. The same number is the least
            # |A^(1/2) - B^(1/2) Q|^2 over rotations Q, and loses none.
            second = symmetric_root(b)
            exact = (first - second @ _rotation(second @ first)).square().sum((-1, -2))
        return moved + exact + (told - told.detach())

    def map_to(self, other: Gaussian) -> AffineMap:
        r"""The optimal map to another normal distribution, $x \mapsto m_B + T (x - m_A)$.

        $T = A^{-1/2} (A^{1/2} B A^{1/2})^{1/2} A^{-1/2}$ where A is regular.

        Args:
            other: Where to go.

        Returns:
            The map. It gives NumPy back to those who pass NumPy.

        Raises:
            InfeasibleError: If A is singular and no map leads to B, because every plan splits points.
            InputError: If the two live in different spaces, dtypes or devices.
        """
        self._check_fits(other)
        a, b = self.covariance.double(), other.covariance.double()
        matrix = _linear_map(a, b)
        with torch.no_grad():
            missed = (matrix @ a @ matrix.mT - b).abs().amax((-1, -2))
            size = b.abs().amax((-1, -2))
            if bool((missed > 1e-5 * size).any()):
                raise InfeasibleError(
                    "no map leads from the first distribution to the second, since the covariance of the first is "
                    f"singular: its image would miss the second covariance by {float((missed / size).max()):.1e} of "
                    "its largest entry. Add a small multiple of the identity to the first covariance."
                )
        start, end = self.mean.double(), other.mean.double()
        translation = end - (matrix @ start[..., None])[..., 0]
        return AffineMap._make(matrix=matrix.to(self.dtype), translation=translation.to(self.dtype))

    @takes_arrays
    def barycenter(
        self,
        weights: Float[Tensor, " k"] | Sequence[float] | None = None,
        *,
        tol: float = 1e-10,
        max_iter: int = 1000,
    ) -> Gaussian:
        r"""The Wasserstein barycentre along the last batch dimension, which is normal again.

        $$\min_{m, S} \sum_k \lambda_k W_2^2\big(N(m, S), N(m_k, A_k)\big)$$
        Its mean is the mean of the means. Its covariance is $S = R R^\top$ with the fixed point of
        $R \leftarrow \sum_k \lambda_k A_k^{1/2} Q_k$, where the rotation $Q_k$ brings $A_k^{1/2}$ nearest to R. No
        step raises the objective. If S is regular, it is the only barycentre.

        Args:
            weights: How much each distribution counts, lambda, scaled to sum one; with None all count the same.
            tol: Change of R in one iteration, relative to its length, below which the iteration stops.
            max_iter: Limit of the number of iterations.

        Returns:
            The barycentre, of shape ``batch_shape[:-1]``. It has gradients of first order, by the equation of the fixed
            point.

        Raises:
            ShapeError: If there is no batch dimension.
            InputError: If weights or options are wrong.

        Warns:
            ConvergenceWarning: If the tolerance was not met after ``max_iter`` iterations.

        Example:
            >>> import torch
            >>> import monge
            >>> three = monge.Gaussian(torch.zeros(3, 1), torch.tensor([1.0, 4.0, 9.0])[:, None, None])
            >>> three.barycenter().covariance.round(decimals=4)
            tensor([[4.]])

        Source: Alvarez-Esteban, del Barrio, Cuesta-Albertos, Matran, A fixed-point approach to barycenters in
            Wasserstein space (arXiv 1511.05355).
        """
        check_number("tol", tol, low=0.0, high=1.0, strict=True)
        check_number("max_iter", max_iter, low=1)
        batch = self.batch_shape
        if not batch:
            raise ShapeError(
                "a barycentre needs several distributions along the last batch dimension, but this is one: stack means "
                "as (k, d) and covariances as (k, d, d)."
            )
        d, count = self.mean.shape[-1], batch[-1]
        shares = check_shares("weights", weights, count, self.mean).double()
        mean = self.mean.double().expand(*batch, d)
        covariances = self.covariance.double().expand(*batch, d, d)
        with torch.no_grad():
            factor, moved = _fixed_point(covariances, shares, tol, int(max_iter))
        if not moved <= tol:
            warnings.warn(
                f"The covariance of the barycentre still moved by {moved:.1e} after max_iter={max_iter} iterations, "
                f"more than tol={tol:.0e}: raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )
        covariance = _Barycentre.apply(factor @ factor.mT, covariances, shares)
        middle = (shares[:, None] * mean).sum(-2)
        return Gaussian._make(mean=middle.to(self.dtype), covariance=covariance.to(self.dtype))

    def _check_fits(self, other: Any) -> None:
        if not isinstance(other, Gaussian):
            raise InputError(
                f"other must be a Gaussian, but is {type(other).__name__}: make one with Gaussian(mean, covariance), "
                "or from points with Gaussian.of(x)."
            )
        check_same(self=self.mean, other=other.mean)
        if self.mean.shape[-1] != other.mean.shape[-1]:
            raise ShapeError(
                f"both distributions must live in one space, but have dimensions {self.mean.shape[-1]} and "
                f"{other.mean.shape[-1]}: choose the same coordinates for both."
            )
        check_batches(self=self.batch_shape, other=other.batch_shape)


def _check_semidefinite(covariance: Tensor) -> None:
    wide = covariance.double()
    slack = _DIGITS * torch.finfo(covariance.dtype).eps * wide.abs().amax((-1, -2))
    skew = (wide - wide.mT).abs().amax((-1, -2))
    if bool((skew > slack).any()):
        raise InputError(
            f"covariance must be symmetric, but differs from its transpose by {float(skew.max()):.3g}: pass "
            "(covariance + covariance.mT) / 2."
        )
    least = torch.linalg.eigvalsh(wide)[..., 0]
    if bool((least < -slack * covariance.shape[-1]).any()):
        raise InputError(
            f"covariance must have no negative eigenvalue, but its least one is {float(least.min()):.3g}: is it a "
            "covariance, and not a correlation or a root of it?"
        )


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


def _rotation(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to this one."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


def _linear_map(a: Tensor, b: Tensor) -> Tensor:
    """E[y | x] = T x of the optimal plan between centred distributions, which is symmetric if A is regular."""
    first = symmetric_root(a)
    cross = symmetric_root(first @ b @ first)
    return b @ first @ pseudo_inverse(cross) @ pseudo_inverse(first)


def _fixed_point(covariances: Tensor, shares: Tensor, tol: float, max_iter: int) -> tuple[Tensor, float]:
    """R, and how far the last iteration moved it."""
    roots = symmetric_root(covariances)
    factor, moved = (shares[:, None, None] * roots).sum(-3), torch.inf
    for _ in range(max_iter):
        nearest = roots @ _rotation(roots @ factor[..., None, :, :])
        image = (shares[:, None, None] * nearest).sum(-3)
        size = factor.square().sum((-1, -2)).sqrt()
        change = (image - factor).square().sum((-1, -2)).sqrt()
        moved = float((change / torch.where(size > 0, size, 1.0)).max()) if size.numel() else 0.0
        factor = image
        if moved <= tol:
            break
    return factor, moved


class _Barycentre(torch.autograd.Function):
    """The covariance S, with the derivative of the equation S = F(S, A, lambda) that it solves."""

    @staticmethod
    def forward(ctx: Any, answer: Tensor, covariances: Tensor, shares: Tensor) -> Tensor:
        ctx.save_for_backward(answer, covariances, shares)
        return answer.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor]:
        answer, covariances, shares = (held.detach().requires_grad_() for held in ctx.saved_tensors)
        with torch.enable_grad():
            image = _image(answer, covariances, shares)

            def pulled(adjoint: Tensor) -> Tensor:
                return torch.autograd.grad(image, answer, adjoint, retain_graph=True)[0]

            # The map contracts, so that the sum of its powers converges.
            adjoint, step = gradients[0], gradients[0]
            for _ in range(_TERMS):
                step = pulled(step)
                adjoint = adjoint + step
                if bool(step.abs().amax() <= torch.finfo(step.dtype).eps * adjoint.abs().amax()):
                    break
            by_covariances, by_shares = torch.autograd.grad(image, (covariances, shares), adjoint)
        return None, by_covariances, by_shares


# Terms of the sum; that of a covariance of the spread of the others needs about ten.
_TERMS = 1000


def _image(answer: Tensor, covariances: Tensor, shares: Tensor) -> Tensor:
    """T S T with the mean T of the maps to all covariances."""
    maps = _linear_map(answer[..., None, :, :], covariances)
    mean = (shares[:, None, None] * maps).sum(-3)
    return mean @ answer @ mean.mT

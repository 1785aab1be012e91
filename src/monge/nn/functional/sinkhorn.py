"""Attention normalised on both sides by Sinkhorn's iteration (Sinkformer), dense or streamed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge import kernels
from monge._checks import check_choice
from monge.errors import CapabilityError, InputError
from monge.geometry import PointCloud
from monge.problem import Linear
from monge.solver import Sinkhorn as Solver

from ._fixed_point import balanced, converge
from ._heads import Heads
from ._padding import blank, head_factor, precise, scale_of, uniform, unless_scored
from ._prefix_sums import extend
from .softmax import fused_attention

__all__ = ["sinkhorn_attention"]


@precise
def sinkhorn_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    *,
    scale: float | None = None,
    epsilon: float | Tensor = 1.0,
    n_half: int = 5,
    tol: float | None = None,
    max_iter: int = 1000,
    end_on: str = "rows",
    gradient: str = "unrolled",
    memory: str = "dense",
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    pairs: Tensor | None = None,
) -> Float[Tensor, "*b n c"]:
    r"""Attention by the entropic plan of the scores: $\mathrm{diag}(1/a) P V$ with $P = \exp(S/ε + u + v)$.

    A half-step normalises one side. The side of the last half-step is exact; the other one converges. After a step on
    the rows, $A_{ij} = \mathrm{softmax}_j(S_{ij}/\epsilon + v_j)$. This is ordinary attention with one price for each
    key, so that ``memory="linear"`` never stores a matrix, forward and backward.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        scale: $s$, $d^{-1/2}$ if None.
        epsilon: Strength of the entropy.
        n_half: Half-steps; 1, on the rows, is softmax attention.
        tol: If given, iterate until the L1 error of the other marginal is below it, instead of ``n_half``.
        max_iter: The largest number of rounds, with ``tol``.
        end_on: "rows" (of queries) or "columns", the side of the last half-step.
        gradient: "unrolled", or "implicit" at the fixed point (always, with ``tol``).
        memory: "dense" or "linear".
        query_padding: True where a query is absent; its output is zero.
        key_padding: True where a key is absent.
        pairs: True where a pair is forbidden, or a float added to its score; dense only.

    Returns:
        One weighted mean of the values per query.

    Raises:
        InputError: An unknown choice, or ``n_half`` below one.
        CapabilityError: A combination that does not exist; the message says which one does.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> out = sinkhorn_attention(q, k, v, tol=1e-6)
        >>> torch.allclose(out.mean(-2), v.mean(-2), atol=1e-4)
        True

    Source: Sander, Ablin, Blondel, Peyré, Sinkformers: Transformers with doubly stochastic attention, arXiv 2110.11773.
    """
    balance = Balance(scale, epsilon, n_half, tol, max_iter, end_on, gradient, memory)
    return sinkhorn_read(Heads(q, k, query_padding, key_padding, pairs).checked(), blank(v, key_padding), balance)


@dataclass(frozen=True)
class Balance:
    """How scores become a plan; the options of `sinkhorn_attention`."""

    scale: float | None = None
    epsilon: float | Tensor = 1.0
    n_half: int = 5
    tol: float | None = None
    max_iter: int = 1000
    end_on: str = "rows"
    gradient: str = "unrolled"
    memory: str = "dense"

    def __post_init__(self) -> None:
        check_choice("end_on", self.end_on, ("rows", "columns"))
        check_choice("gradient", self.gradient, ("unrolled", "implicit"))
        check_choice("memory", self.memory, ("dense", "linear"))
        if self.n_half < 1:
            raise InputError(f"n_half must be at least 1, but is {self.n_half}: 1 is softmax attention.")

    @property
    def unrolled(self) -> bool:
        """Whether its derivative is that of its half-steps; a single one is at its fixed point anyway."""
        return self.tol is None and (self.gradient == "unrolled" or self.n_half == 1)

    def factor(self, q: Tensor) -> float | Tensor:
        """What turns products into logits, s/ε."""
        return scale_of(q, self.scale) / head_factor(self.epsilon, q)


def sinkhorn_read(heads: Heads, v: Tensor, balance: Balance) -> Tensor:
    """`sinkhorn_attention` of checked heads."""
    dtype = v.dtype
    heads, (v,) = heads.single(v)
    q, k = heads.q, heads.k
    factor = balance.factor(q)
    known = unless_scored(q, k, factor)
    if balance.unrolled and balance.memory == "dense" and balance.end_on == "rows" and heads.pair_mask is None:
        weights = uniform(q, heads.query_padding), uniform(k, heads.key_padding)
        out = kernels.balanced_apply(q * factor, k, v, *weights, balance.n_half)
    else:
        logits, u, price = sinkhorn_potentials(heads, balance)
        log_a = uniform(q, heads.query_padding).log()
        if logits is not None:
            out = plan_rows(logits, u, price, log_a, balance.end_on) @ v
        elif balance.end_on == "rows":
            out = _read_at_price(heads._replace(q=q * factor), v, price)
        else:
            cost = kernels.Points(q * factor, k, kind="dot")
            out = kernels.apply(cost, (u - log_a).nan_to_num(nan=-math.inf), price, v, 1.0)
    return blank(out + known, heads.query_padding).to(dtype)


def sinkhorn_potentials(heads: Heads, balance: Balance) -> tuple[Tensor | None, Tensor, Tensor]:
    """The logits S/ε (None if they are never stored) and the two potentials of `sinkhorn_attention`."""
    q, k, pairs = heads.q * balance.factor(heads.q), heads.k, heads.pair_mask
    log_a, log_b = uniform(q, heads.query_padding).log(), uniform(k, heads.key_padding).log()
    if balance.memory == "linear":
        if pairs is not None:
            raise CapabilityError(
                "memory='linear' never forms pairs and cannot mask them: use memory='dense' for attn_mask."
            )
        if balance.tol is not None:
            price = _converged(q, k, log_a, log_b, balance)
            rows = kernels.softmin(kernels.Points(q, k, kind="dot"), price, 1.0)
            return None, log_a + _finite(rows), price
        if not balance.unrolled:
            raise CapabilityError(
                "memory='linear' has no implicit gradient for a fixed number of half-steps, because it computes them "
                "again in the backward pass: give a tol, or use memory='dense'."
            )
        return None, *_streamed(q, k, log_a, log_b, balance)
    logits = q @ k.mT
    if pairs is not None:
        # -inf stays out of additions, where a second -inf would make its derivative undefined.
        forbidden = pairs if pairs.dtype == torch.bool else pairs == -math.inf
        if pairs.dtype != torch.bool:
            logits = logits + pairs.to(logits.dtype).masked_fill(forbidden, 0.0)
        logits = logits.masked_fill(forbidden, -math.inf)
    if balance.end_on == "columns":
        v, u = _solve(logits.mT, log_b, log_a, balance)
    else:
        u, v = _solve(logits, log_a, log_b, balance)
    return logits, u, v


def plan_rows(logits: Tensor, u: Tensor, v: Tensor, log_a: Tensor, end_on: str) -> Tensor:
    """The attention matrix $diag(1/a) P$; rows without mass are zero."""
    if end_on == "rows":
        return kernels.row_shares(logits, v, log_a)
    u = (u - log_a.masked_fill(log_a == -math.inf, 0.0))[..., None]
    return torch.exp(logits + u + v[..., None, :])


def _solve(logits: Tensor, log_a: Tensor, log_b: Tensor, balance: Balance) -> tuple[Tensor, Tensor]:
    if balance.unrolled:
        return kernels.half_steps(logits, log_a, log_b, balance.n_half)
    if balance.tol is None:
        v = balanced(logits, log_a, log_b, balance.n_half)
    else:
        v = converge(logits, log_a, log_b, balance.tol, balance.max_iter)
    return kernels.half_steps(logits, log_a, log_b, 1, v)


def _converged(q: Tensor, k: Tensor, log_a: Tensor, log_b: Tensor, balance: Balance) -> Tensor:
    """The prices of the keys at convergence, streamed, with their implicit gradient."""
    geometry = PointCloud._make(x=q, y=k, cost="dot", p=2.0, power=None)
    present = [torch.where((log == -math.inf).all(-1, keepdim=True), 0.0, log) for log in (log_a, log_b)]
    a, b = (torch.softmax(log, -1) for log in present)
    solution = Solver(tol=balance.tol, max_iter=balance.max_iter)._solve(Linear(geometry, a, b, epsilon=1.0))
    return solution.g.masked_fill(b == 0, 0.0) + present[1]


def _streamed(q: Tensor, k: Tensor, log_a: Tensor, log_b: Tensor, balance: Balance) -> tuple[Tensor, Tensor]:
    """The half-steps as passes over the scores; each recomputes its blocks in backward."""
    rows, columns = kernels.Points(q, k, kind="dot"), kernels.Points(k, q, kind="dot")
    u, v = (torch.where(log == -math.inf, log, 0.0) for log in (log_a, log_b))
    on_rows = balance.end_on == "rows"
    for left in range(balance.n_half, 0, -1):
        if (left % 2 == 1) == on_rows:
            u = log_a + _finite(kernels.softmin(rows, v, 1.0))
        else:
            v = log_b + _finite(kernels.softmin(columns, u, 1.0))
    return u, v


def _finite(potential: Tensor) -> Tensor:
    return potential.masked_fill(potential == math.inf, 0.0)


def _read_at_price(heads: Heads, v: Tensor, price: Tensor) -> Tensor:
    """Fused attention with a bias per key, which rides as one more dimension of the keys."""
    price = price.masked_fill(price == -math.inf, 0.0)
    price = price - price.detach().mean(-1, keepdim=True)
    k = torch.cat([heads.k, price[..., None]], -1)
    mask, dead = heads.mask()
    out = fused_attention(extend(heads.q), k, v, mask, 0.0, causal=False, scale=1.0)
    return out if dead is None else out.masked_fill(dead, 0.0)

"""Couplers by orthogonal matrices: doubly stochastic without normalisation, for as many keys as queries."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn

from monge.coupling import Coupling, DenseCoupling
from monge.errors import InputError

from ..functional._heads import Heads
from ..functional._padding import at_least_single, blank, uniform
from ..functional.orthogonal import cayley_matrix, circuit_matrix, qr_matrix
from ._coupler import Coupler, Promise

__all__ = ["QR", "Cayley", "Circuit"]


class _Orthogonal(Coupler):
    """A coupler whose subclass gives the attention matrix itself, for one sequence."""

    one_sequence = True
    promise = Promise.of_both(time="n³", memory="n²", square=True, source="arXiv 2504.16275")

    def __init__(self, width: int, scale: float | None) -> None:
        super().__init__()
        self.scale = width**-0.5 if scale is None else scale

    @abstractmethod
    def matrix(self, q: Tensor, k: Tensor, padding: Tensor | None) -> Tensor:
        """The doubly stochastic matrix, identity on padding."""

    def _couple(self, heads: Heads) -> Coupling:
        weights = uniform(heads.q, heads.key_padding)[..., None]
        return DenseCoupling._make(matrix=self.matrix(*heads[:2], heads.key_padding) * weights)

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        (values,) = at_least_single(v)
        matrix = self.matrix(*heads[:2], heads.key_padding)
        return blank(matrix.to(values.dtype) @ values, heads.key_padding).to(v.dtype)


class QR(_Orthogonal):
    """The squared orthogonal factor of $s Q K^T + λ I$, the quantum-inspired coupler. The order of keys matters.

    Args:
        heads: Heads of the attention.
        width: Width of a head.
        shift: λ at the start; a parameter per head.
        scale: $s$, $d^{-1/2}$ for heads of width d if None.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="qr")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(columns, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Born, Skogh, Rhrissorrakrai, Utro, Wagner, Sobczyk, Quantum doubly stochastic transformers, arXiv
    2504.16275.
    """

    name = "qr"

    def __init__(self, heads: int, width: int, *, shift: float = 1.0, scale: float | None = None) -> None:
        super().__init__(width, scale)
        self.shift = nn.Parameter(torch.full((heads,), float(shift)))

    def matrix(self, q: Tensor, k: Tensor, padding: Tensor | None) -> Tensor:
        """The doubly stochastic matrix, identity on padding."""
        return qr_matrix(q, k, shift=self.shift, scale=self.scale, padding=padding)


class Cayley(_Orthogonal):
    """The squared Cayley transform of the skew part of the scores: smooth, and equivariant to the order of tokens.

    Args:
        heads: Heads of the attention.
        width: Width of a head.
        gain: The factor of the skew part at the start; a parameter per head.
        scale: $s$, $d^{-1/2}$ for heads of width d if None.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="cayley")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(columns, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True
    """

    name = "cayley"
    promise = replace(_Orthogonal.promise, source="this library")

    def __init__(self, heads: int, width: int, *, gain: float = 1.0, scale: float | None = None) -> None:
        super().__init__(width, scale)
        self.gain = nn.Parameter(torch.full((heads,), float(gain)))
        # Symmetric scores would give the identity, and queries equal to keys start there.
        self.drift = nn.Parameter(torch.randn(heads, width) * width**-0.5)

    def matrix(self, q: Tensor, k: Tensor, padding: Tensor | None) -> Tensor:
        """The doubly stochastic matrix, identity on padding."""
        (drift,) = at_least_single(self.drift)
        alpha = (q.to(drift.dtype) @ drift[..., None])[..., 0]
        return cayley_matrix(q, k, drift=alpha, gain=self.gain, scale=self.scale, padding=padding)


class Circuit(_Orthogonal):
    """The measured probabilities of a small simulated circuit whose angles are parameters times scores.

    Args:
        heads: Heads of the attention.
        width: Width of a head.
        tokens: How many tokens the circuit holds at most; it has a parameter for each.
        layers: Number of layers; with as many layers as tokens, every token can read every other.
        ancilla: Auxiliary states per token.
        scale: $s$, $d^{-1/2}$ for heads of width d if None.

    Example:
        >>> from monge.nn.couplers import Circuit
        >>> attention = monge.nn.Attention(16, 2, coupler=Circuit(2, 8, tokens=10))
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(columns, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Born, Skogh, Rhrissorrakrai, Utro, Wagner, Sobczyk, Quantum doubly stochastic transformers, arXiv
    2504.16275, for the idea; the layout of gates is this library's.
    """

    name = "circuit"
    promise = replace(_Orthogonal.promise, time="layers n² a²", memory="layers n² a²")

    def __init__(
        self,
        heads: int,
        width: int,
        tokens: int = 8,
        *,
        layers: int = 16,
        ancilla: int = 1,
        scale: float | None = None,
    ) -> None:
        super().__init__(width, scale)
        if min(tokens, layers, ancilla) < 1:
            raise InputError(f"tokens, layers and ancilla must be positive, but are {tokens}, {layers}, {ancilla}.")
        turn = math.pi / 4

        def angles(*shape: int) -> nn.Parameter:
            start = (2 * torch.rand(heads, layers, *shape) - 1) * turn
            return nn.Parameter(start, requires_grad=start.numel() > 0)

        self.rotations = angles(ancilla, tokens - 1, 2)
        self.phases = angles(ancilla, tokens, 2)
        self.mixing = angles(ancilla - 1, tokens)

    def matrix(self, q: Tensor, k: Tensor, padding: Tensor | None) -> Tensor:
        """The doubly stochastic matrix, identity on padding."""
        return circuit_matrix(q, k, self.rotations, self.phases, self.mixing, scale=self.scale, padding=padding)

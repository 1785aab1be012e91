"""Block ascent on one problem whose costs and kernel are kept: products with a matrix in place of exponentials."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge.dual import Ascent, Iteration
from monge.geometry import CostMatrix
from monge.kernels import Points
from monge.problem import Linear
from monge.problem.marginal import column

__all__ = ["KeptAscent", "is_kept", "kept_bytes"]

# Below this many pairs exponentials cost little beside what is done once an iteration, which a batch shares.
_FEWEST_PAIRS = 2**19
# Up to this dimension costs of points are computed as fast as they are read.
_DIRECT_DIMENSION = 8
# Logarithms of scalings that stay below these lose nothing: an entry that underflows is smaller than the least
# number of its dtype, and twice the bound does not lift it to the rounding of a sum.
_RANGE = {torch.float64: 40.0, torch.float32: 20.0}


def kept_bytes(problem: Linear) -> int:
    """Bytes that the kernel of one problem of a batch takes, and its costs where they are worth keeping."""
    n, m = problem.shape
    return (2 if _stores_costs(problem) else 1) * n * m * problem.geometry.dtype.itemsize


def is_kept(problem: Linear, max_bytes: float) -> bool:
    """Whether costs and kernel are kept: for balanced problems on a CPU that are large enough and fit the budget."""
    geometry = problem.geometry
    if not problem.balanced or geometry.device.type != "cpu" or geometry.dtype not in _RANGE:
        return False
    # Other geometries have iterations of their own, or none that the kernels know.
    known = geometry._pairs() is not None
    return known and math.prod(problem.shape) >= _FEWEST_PAIRS and kept_bytes(problem) <= max_bytes


def _stores_costs(problem: Linear) -> bool:
    pairs = problem.geometry._pairs()
    return isinstance(pairs, Points) and pairs.x.shape[-1] > _DIRECT_DIMENSION


class KeptAscent(Ascent):
    r"""The same map, with $K_{ij} = \exp((f^0_i + g^0_j - C_{ij}) / \varepsilon)$ kept at the last epsilon.

    An iteration from g is $s = K (b v)$, $f = f^0 - \varepsilon \log s$ and $t = K^T (a / s)$, $g' = g^0 - \varepsilon
    \log t$, with $v = \exp((g - g^0) / \varepsilon)$. If a scaling leaves the range in which underflow cannot be
    seen, the iteration is made in the log domain, and its potentials become the new $f^0, g^0$.
    """

    def __init__(self, problem: Linear) -> None:
        if _stores_costs(problem):
            problem = problem._replace(geometry=CostMatrix(problem.geometry._dense()))
        super().__init__(problem)
        self.kernel: Tensor | None = None
        self.origin: tuple[Tensor, Tensor] | None = None
        self.limit = _RANGE[problem.geometry.dtype]

    def iteration(self, g: Float[Tensor, " m"], epsilon: Float[Tensor, ""]) -> Iteration:
        """The next potential of each side from g: by products at the last epsilon, where their range is safe."""
        final = bool(epsilon <= self.problem.epsilon)
        if final and self.kernel is not None:
            found = self._by_products(g, epsilon)
            if found is not None:
                return found
        found = super().iteration(g, epsilon)
        if final:
            self._absorb(found.f, found.image, epsilon)
        return found

    def _by_products(self, g: Tensor, epsilon: Tensor) -> Iteration | None:
        """The iteration from the kept kernel, or None if a scaling leaves its range."""
        assert self.kernel is not None
        assert self.origin is not None
        f_origin, g_origin = self.origin
        log_v = (g - g_origin) / epsilon
        v = log_v.exp()
        s = self.kernel @ (self.problem.b * v)
        t = self.kernel.mT @ (self.problem.a / s)
        log_s, log_t = s.log(), t.log()
        if not bool(torch.cat([log_v, log_s, log_t]).abs().amax() <= self.limit):
            return None
        f, image = f_origin - epsilon * log_s, g_origin - epsilon * log_t
        marginal = self.problem.b * v * t
        total, _ = self.totals
        error = (marginal - self.problem.b).abs().sum(-1) / total
        # All potentials are finite here, so that products with weights of zero need no care.
        dual = self.problem.a @ f + self.problem.b @ image - epsilon * (total - total * self.totals[1])
        return Iteration(f, g, marginal.log(), error, f, image, dual)

    def rounding(self, f: Tensor, g: Tensor, epsilon: Tensor) -> Float[Tensor, ""]:
        """The marginal error that rounding explains, in two products where the potentials are known to be finite."""
        if self.kernel is None:
            return super().rounding(f, g, epsilon)
        a, b = self.shares
        return 2 * torch.finfo(f.dtype).eps * (a @ f.abs() + b @ g.abs()) / epsilon

    def _absorb(self, f: Tensor, g: Tensor, epsilon: Tensor) -> None:
        """Make the kernel at these potentials, in the memory of the one before."""
        self.kernel, self.origin = None, None
        if not bool(f.isfinite().all() & g.isfinite().all()):
            return
        geometry = self.problem.geometry
        n, m = geometry.shape
        kernel = g.new_empty(n, m)
        step = max(1, 2**17 // m)
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            part = torch.sub(column(f[rows]), geometry._block(rows), out=kernel[rows])
            part.add_(g).div_(epsilon).exp_()
        if bool(kernel.amax().isfinite()):
            self.kernel, self.origin = kernel, (f, g)

"""Anderson mixing, guarded."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Mixing"]

# Points that are mixed, and the growth of the error at which a mixture counts as a failure.
_MEMORY, _GROWTH = 8, 10.0


class Mixing:
    """Turns the points and images of a fixed-point map into better next points.

    The mixture sum alpha_k G(z_k), sum alpha_k = 1, has the smallest residual |sum alpha_k (G(z_k) - z_k)|. Where it
    leads to an error far above the least so far, all is forgotten, and the plain map goes on from its best image.

    Source: Walker, Ni, Anderson acceleration for fixed-point iterations (SIAM J. Numer. Anal. 49, 2011).
    """

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.residuals: list[Tensor] = []
        self.best: tuple[float, Tensor | None] = (float("inf"), None)

    def next(
        self, z: Float[Tensor, " n"], image: Float[Tensor, " n"], weights: Float[Tensor, " n"], error: float
    ) -> Float[Tensor, " n"]:
        """Where to go from z, whose image and error are known; residuals are measured with ``weights``."""
        if self.best[1] is not None and not error <= _GROWTH * self.best[0]:
            self.images, self.residuals = [], []
            image, self.best = self.best[1], (float("inf"), None)
            return image
        if error < self.best[0]:
            self.best = (error, image)
        self.images = [*self.images, image][-_MEMORY:]
        self.residuals = [*self.residuals, weights.sqrt() * (image - z)][-_MEMORY:]
        stacked = torch.stack(self.residuals)
        norms = stacked.norm(dim=-1).clamp(min=torch.finfo(stacked.dtype).tiny)
        directions = stacked / norms[:, None]
        # Directions have norm one, so that one ridge fits all.
        gram = directions @ directions.mT + 1e-10 * torch.eye(len(norms), dtype=norms.dtype, device=norms.device)
        alpha = torch.linalg.solve(gram, norms.amin() / norms) / norms
        return torch.einsum("k,kn->n", alpha / alpha.sum(), torch.stack(self.images))

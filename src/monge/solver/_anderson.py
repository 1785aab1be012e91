"""Anderson mixing of a fixed-point iteration, for a batch of problems that start and restart on their own."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._loop import State


class Anderson(State):
    """Remembers the last images of a map and their residuals, and mixes them into a better next point.

    The mixture sum alpha_k G(g_k) has the smallest residual |sum alpha_k (G(g_k) - g_k)| among all with
    sum alpha_k = 1. It turns a linear rate into about its square root.

    Args:
        weights: Weights of the norm of residuals, for every problem of the batch.
        memory: How many points are remembered.

    Source: Type-II Anderson acceleration; restarts and use every few iterations follow Periodic Pulay method
        for robust and efficient convergence acceleration of self-consistent field iterations.
    """

    def __init__(self, weights: Float[Tensor, "*b m"], memory: int) -> None:
        self.scale = weights.sqrt()
        self.memory = memory
        self.images: list[Tensor] = []
        self.residuals: list[Tensor] = []
        self.valid: list[Tensor] = []

    def remember(self, g: Float[Tensor, "*b m"], image: Float[Tensor, "*b m"], where: Bool[Tensor, "*b"]) -> None:
        """Add a point and its image to the problems chosen by ``where``; the others forget all they had."""
        residual = torch.where(self.scale > 0, self.scale * (image - g), 0.0)
        residual = torch.where(where[..., None], residual, 0.0)
        self.images = [*self.images, image][-self.memory :]
        self.residuals = [*self.residuals, residual][-self.memory :]
        self.valid = [*(valid & where for valid in self.valid), where][-self.memory :]

    def mix(self) -> Float[Tensor, "*b m"]:
        """The mixture; of one point it is its image."""
        residuals = torch.stack(self.residuals, -2).double()
        valid = torch.stack(self.valid, -1)
        norms = torch.where(valid, residuals.norm(dim=-1), 1.0).clamp(min=torch.finfo(torch.float64).tiny)
        # Directions have norm one, so that one ridge fits all; a forgotten point is orthogonal to everything.
        directions = torch.where(valid[..., None], residuals / norms[..., None], 0.0)
        ridge = 1e-10 if self.images[0].dtype == torch.float64 else 1e-6
        gram = directions @ directions.mT + torch.diag_embed(torch.where(valid, ridge, 1.0).to(directions.dtype))
        right = torch.where(valid, norms.amin(-1, keepdim=True) / norms, 0.0)
        alpha = torch.linalg.solve(gram, right[..., None])[..., 0] / norms
        alpha = (alpha / alpha.sum(-1, keepdim=True)).to(self.images[0].dtype)
        return (alpha[..., None] * torch.stack(self.images, -2)).sum(-2)

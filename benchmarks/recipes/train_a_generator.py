"""A small generator trained with the Sinkhorn divergence, against GeomLoss with its slow schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import monge
from monge.data import gaussian, rings
from monge.loss import SinkhornLoss

PEER = "GeomLoss"
RUNS = 3
EPSILON, STEPS, SIZE = 0.2, 50, 256


def data() -> dict[str, Any]:
    """Batches of noise and of points on two rings, and a first gradient to ten digits."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        (gaussian(SIZE, generator=generator), rings(SIZE, radii=(0.6, 1.4), noise=0.02, generator=generator))
        for _ in range(STEPS)
    ]
    exact = SinkhornLoss(epsilon=EPSILON, solver=monge.solver.Sinkhorn(tol=1e-10))
    noise, points = batches[0]
    return {"batches": batches, "gradient": first_gradient(exact, noise.double(), points.double())}


def first_gradient(loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The gradient of a loss by the first cloud."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, y), leaf)[0]


def trained(loss: Callable[[Tensor, Tensor], Tensor], batches: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """A network after a step on each batch, and the first gradient of the loss."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2)]
    network = torch.nn.Sequential(*layers)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for noise, points in batches:
        value = loss(network(noise), points)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return {"network": network, "gradient": first_gradient(loss, *batches[0])}


def ours(data: dict[str, Any]) -> dict[str, Any]:
    """Ours."""
    return trained(SinkhornLoss(epsilon=EPSILON), data["batches"])


def theirs(data: dict[str, Any]) -> dict[str, Any]:
    """GeomLoss halves the squared cost, and its blur is the root of epsilon."""
    from geomloss import SamplesLoss

    loss = SamplesLoss("sinkhorn", p=2, blur=(EPSILON / 2) ** 0.5, scaling=0.9, backend="tensorized")
    return trained(lambda x, y: 2 * loss(x, y), data["batches"])


def accuracy(data: dict[str, Any], answer: dict[str, Any]) -> dict[str, float]:
    """The error of the first gradient, and the distance of samples from other data."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        samples = answer["network"](gaussian(1000, generator=generator))
    fresh = rings(1000, radii=(0.6, 1.4), noise=0.02, generator=generator)
    error = (answer["gradient"] - data["gradient"]).norm() / data["gradient"].norm()
    return {"error of the gradient": float(error), "distance from the data": float(monge.wasserstein(samples, fresh))}

"""One trainer for each of three problems: a regression, a learned slicer, a classifier of sequences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monge.geometry import PointCloud
from monge.sequences import Classifier, ScheduleConfig, classification
from monge.sliced.plan import TransferableSlicer
from monge.train import Data, MachineConfig, Objective, Schedule, Trainer, World, seeded
from sequences.toy import MODEL, toy

ALWAYS = MachineConfig(device="cpu", checkpoint_seconds=0.0)
SCHEDULE = Schedule(steps=40, lr=1e-2, warmup=3, evaluate_every=5)


def regression(**options: Any) -> Trainer:
    """Dropout, several batches an update, averaged weights, buffers that follow the batches."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(70, 3, generator=generator, dtype=torch.float64)
    y = x.square().sum(-1, keepdim=True)
    data = Data.of_tensors({"train": (x[:50], y[:50]), "valid": (x[50:60], y[50:60]), "test": (x[60:], y[60:])}, size=8)
    with seeded(1, "weights"):
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1)).double()
    objective = Objective(lambda model, batch: (model(batch[0]) - batch[1]).square().mean())
    return Trainer(model, objective, data, replace(SCHEDULE, accumulate=2, average=0.9), seed=1, **options)


def slicer(**options: Any) -> Trainer:
    """A loss that is no forward pass and draws points at random, and a width that falls with the steps."""
    generator = torch.Generator().manual_seed(0)
    pairs = [(torch.randn(30, 2, generator=generator), torch.randn(30, 2, generator=generator) + k) for k in range(5)]
    world = World.current()

    def batch(step: int) -> tuple[Tensor, Tensor, float]:
        return (*pairs[(step * world.size + world.rank) % 4], 0.5 * 0.1 ** (step / SCHEDULE.steps))

    def loss(model: TransferableSlicer, held: tuple[Tensor, Tensor, float]) -> Tensor:
        x, y, width = held
        chosen = torch.randperm(30)[:12]
        return model.loss(x[chosen], y[chosen], width)

    def score(model: TransferableSlicer, held: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"cost": model.couple(*held).transport_cost(PointCloud(*held))}

    objective = Objective(loss, score, lambda new, best: new["cost"] < best["cost"])
    # More parts than batches for one of two processes.
    data = Data(batch, {"valid": lambda: pairs[world.rank : 4 : world.size], "new": lambda: pairs[4:][world.rank :]})
    with seeded(2, "weights"):
        model = TransferableSlicer(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)))
    return Trainer(model, objective, data, SCHEDULE, seed=2, **options)


def classifier(**options: Any) -> Trainer:
    """Ragged sequences, dropout, and a coupler with options."""
    schedule = ScheduleConfig(steps=40, batch=8, lr=1e-2, warmup=3, evaluate_every=5)
    objective, data = classification(toy(), schedule, seed=3)
    with seeded(3, "weights"):
        model = Classifier(6, 2, 9, MODEL, coupler="pivots:pivots=4")
    return Trainer(model, objective, data, schedule, seed=3, **options)


PROBLEMS = {made.__name__: made for made in (regression, slicer, classifier)}
TIMES = ("step_seconds", "_per_second")


def untimed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without what differs from run to run."""
    return [{name: told for name, told in record.items() if not name.endswith(TIMES)} for record in records]


def account(trainer: Trainer) -> dict[str, Any]:
    """Everything about a run that must not depend on interruptions."""
    trained = trainer.run()
    plain = trained.result.plain()
    del plain["step_seconds"], plain["speeds"]
    return {"weights": trained.model.state_dict(), "numbers": plain, "records": untimed(trained.records)}


def assert_same(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Bit by bit."""
    assert one["numbers"] == two["numbers"]
    assert one["records"] == two["records"]
    assert one["weights"].keys() == two["weights"].keys()
    for name, held in one["weights"].items():
        assert torch.equal(held, two["weights"][name]), name


def path_of(folder: Path, rank: int) -> Path:
    """Where a process leaves its account."""
    return folder / f"account-{rank}.pt"

"""The suite of objectives passes those of the library, and sees every way in which one can be wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from monge.sequences import Classifier, classification
from monge.sliced.plan import TransferableSlicer
from monge.testing import check_objective
from monge.train import Data, Objective
from sequences.toy import MODEL, SCHEDULE, toy

X = torch.linspace(-1, 1, 24)[:, None]
DATA = Data.of_tensors({"train": (X, X.square()), "valid": (X, X.square()), "test": (X[:5], X[:5])}, size=8)
SQUARES = Objective(lambda model, batch: (model(batch[0]) - batch[1]).square().mean())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 1))


@pytest.mark.parametrize("pair", [False, True])
def test_the_classification_of_sequences(pair):
    objective, data = classification(toy(pair=pair), SCHEDULE)
    check_objective(objective, data, Classifier(6, 2, 9, MODEL, coupler="pivots:pivots=4", pair=pair))


def test_a_learned_slicer():
    generator = torch.Generator().manual_seed(0)
    pairs = [(torch.randn(20, 2, generator=generator), torch.randn(20, 2, generator=generator) + k) for k in range(3)]
    torch.manual_seed(0)
    model = TransferableSlicer(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)))
    data = Data(lambda step: pairs[step % 3], {"valid": lambda: pairs[1:]})
    check_objective(Objective(lambda model, batch: model.loss(*batch, 0.5)), data, model, smooth=False)


def test_dropout_is_no_fault():
    check_objective(SQUARES, DATA, network())


def half(model, batch):
    loss = SQUARES.loss(model, batch)
    return loss / 2 + loss.detach() / 2


def in_place(model, batch):
    batch[0].mul_(2.0)
    return SQUARES.loss(model, batch)


def trained_by_measuring(model, batch):
    model[0].weight.mul_(0.5)
    return {"loss": SQUARES.loss(model, batch)}


def named_by_size(model, batch):
    return {f"loss {len(batch[0]) % 5}": SQUARES.loss(model, batch)}


LOSSES: dict[str, tuple[Callable, str]] = {
    "two numbers": (
        lambda model, batch: model(batch[0]).mean(0).repeat(2),
        r"must be one number, but has shape \(2,\)",
    ),
    "infinite": (lambda model, batch: SQUARES.loss(model, batch) / 0, "must be finite, but is inf"),
    "cut from the weights": (lambda model, batch: SQUARES.loss(model, batch).detach(), "must be differentiable"),
    "another source of chance": (
        lambda model, batch: SQUARES.loss(model, batch) * random.random(),
        "draw from torch's default generators only",
    ),
    "changes its batch": (in_place, "must not change its batch"),
    "half of the gradient": (half, "The gradient of the loss differs from differences"),
    "no gradient at all": (lambda model, batch: 0 * SQUARES.loss(model, batch), "must not vanish"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_is_wrong(name):
    loss, told = LOSSES[name]
    with pytest.raises(AssertionError, match=told):
        check_objective(Objective(loss), DATA, network())


OTHERS: dict[str, tuple[dict, str]] = {
    "measuring trains": ({"score": trained_by_measuring}, "Measuring must not change the model"),
    "names differ": ({"score": named_by_size}, "The figures of 'valid' must have the same names"),
    "figures are no numbers": (
        {"score": lambda model, batch: {"loss": torch.tensor(torch.nan)}},
        "The figure 'loss' of 'valid' must be finite",
    ),
    "not strict": ({"better": lambda new, best: new["loss"] <= best["loss"]}, "nothing is better than itself"),
    "better of what is not measured": (
        {"better": lambda new, best: new["merit"] > best["merit"]},
        "better asks for 'merit'",
    ),
    "each is better": ({"better": lambda new, best: new["loss"] != best["loss"]}, "each of two figures better"),
    "measures a tensor": ({"measure": lambda model: {"norm": torch.ones(())}}, "must be plain data"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_objective_that_is_wrong(name):
    changed, told = OTHERS[name]
    data = replace(DATA, splits={"valid": lambda: [(X, X), (X[:3], X[:3])]})
    with pytest.raises(AssertionError, match=told):
        check_objective(replace(SQUARES, **changed), data, network())


def test_data_that_are_wrong():
    steps, once = iter(range(99)), iter([(X, X)])
    for changed, told in (
        ({"batch": lambda step: (X + next(steps), X)}, r"data.batch\(3\) must be the same whatever was asked before"),
        ({"splits": {"valid": lambda: once}}, "The part 'valid' must give the same batches every time"),
        ({"splits": {"valid": list}}, "The part 'valid' must hold at least one batch"),
        ({"describe": {"x": X}}, "data.describe must be plain data"),
        ({"amounts": lambda batch: {"items": 0.5}}, "must count in whole numbers"),
    ):
        with pytest.raises(AssertionError, match=told):
            check_objective(SQUARES, replace(DATA, **changed), network())


class Forgetful(nn.Module):
    """Remembers in the forward pass what no checkpoint keeps."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)
        self.seen = 0

    def forward(self, x):
        self.seen += self.training
        return self.line(x) * (1 + self.seen)


def test_a_run_that_forgets_when_it_is_interrupted():
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match="of a resumed run is not that of a whole one"):
        check_objective(SQUARES, DATA, Forgetful())

"""One loop for any objective: what a step is, what is judged, and sentences for what is wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monge.errors import InputError
from monge.train import Checkpoint, Data, MachineConfig, Objective, Order, Schedule, Trainer, World, dealt, seeded
from monge.train.trainer import moved

from .problems import ALWAYS, PROBLEMS, SCHEDULE, account, assert_same, regression

SQUARES = Objective(lambda model, batch: (model(batch[0]) - batch[1]).square().mean())


def line(count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, x.sum(-1, keepdim=True)


def linear() -> nn.Module:
    with seeded(0, "weights"):
        return nn.Linear(2, 1).double()


def trainer(size: int = 8, schedule: Schedule = SCHEDULE, objective: Objective = SQUARES, **options: Any) -> Trainer:
    parts = {"train": line(), "valid": line(7)}
    return Trainer(linear(), objective, Data.of_tensors(parts, size=size), schedule, **options)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_loop_is_a_run(problem: str, tmp_path: Path) -> None:
    whole = account(PROBLEMS[problem](machine=ALWAYS))
    seen: list[int] = []
    looped = PROBLEMS[problem](machine=ALWAYS, folder=tmp_path, callbacks=[lambda step: seen.append(step.number)])
    for step in looped:
        # The caller's own randomness is no part of the run, and the run no part of it.
        torch.rand(step.number)
        assert (step.figures is not None) == (step.number % 5 == 0)
        if step.number == 7:
            break
    looped.save()
    assert looped.step == Checkpoint.load(tmp_path / "checkpoint.pt").step == 7
    numbers = [step.number for step in looped]
    assert numbers == list(range(8, 41))
    assert seen == list(range(1, 41))
    assert_same(whole, account(looped))
    assert list(looped) == []


def test_the_random_state_of_the_caller_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    regression().run()
    assert torch.equal(torch.rand(3), expected)


def test_batches_of_an_update_make_one_batch() -> None:
    schedule = replace(SCHEDULE, steps=6, warmup=0)
    # Without chance the order of an epoch does not matter: two halves are the whole.
    whole, halves = trainer(24, schedule), trainer(12, replace(schedule, accumulate=2))
    for one, two in zip(whole, halves, strict=True):
        torch.testing.assert_close(one.loss, two.loss, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(one.gradient_norm, two.gradient_norm, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole.model.weight, halves.model.weight, rtol=1e-8, atol=1e-8)


def test_averaged_weights_are_judged() -> None:
    held = trainer(schedule=replace(SCHEDULE, average=0.5, steps=12, evaluate_every=12))
    slow = held.model.weight.detach().clone()
    for step in held:
        kept = min(0.5, step.number / (9 + step.number))
        slow = kept * slow + (1 - kept) * held.model.weight.detach()
    torch.testing.assert_close(held.judged.weight, slow)
    assert not torch.allclose(held.model.weight, slow)
    x, y = line(7)
    outcome = held.run()
    torch.testing.assert_close(outcome.model.weight, slow)
    loss = (x @ slow.T + outcome.model.bias - y).square().mean()
    assert outcome.result.figures["valid"]["loss"] == pytest.approx(float(loss.detach()))


def test_a_shared_weight_is_averaged_once() -> None:
    with seeded(0, "weights"):
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)).double()
    model[1].weight = model[0].weight
    data = Data.of_tensors({"train": line()}, size=8)
    slow, held = model[0].weight.detach().clone(), Trainer(model, SQUARES, data, replace(SCHEDULE, average=0.9))
    for step in held:
        kept = min(0.9, step.number / (9 + step.number))
        slow = kept * slow + (1 - kept) * model[0].weight.detach()
    torch.testing.assert_close(held.judged[0].weight, slow)


def test_figures_are_means_over_items_of_uneven_batches() -> None:
    objective = replace(SQUARES, score=lambda model, batch: {"first": batch[0][:, 0], "loss": torch.zeros(1)})
    figures = trainer(3, objective=objective)._evaluate("valid")
    assert figures["first"] == pytest.approx(float(line(7)[0][:, 0].mean()))


def test_the_best_weights_are_those_that_the_objective_prefers() -> None:
    wanted = {5: 0.3, 10: 0.9, 15: 0.1, 20: 0.9, 25: 0.5, 30: 0.2, 35: 0.4, 40: 0.0}
    kept: dict[int, torch.Tensor] = {}
    held: list[Trainer] = []

    def score(model: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        kept[held[0].step] = model.weight.detach().clone()
        return {"merit": torch.tensor(wanted[held[0].step])}

    objective = Objective(SQUARES.loss, score, lambda new, best: new["merit"] > best["merit"])
    held.append(trainer(24, objective=objective))
    done = held[0].run()
    assert done.result.best_step == 10
    assert torch.equal(done.model.weight, kept[10])


def test_nothing_to_judge_on_reports_the_last_weights() -> None:
    held = Trainer(linear(), SQUARES, Data(lambda step: line()), SCHEDULE)
    outcome = held.run().result
    assert (outcome.figures, outcome.best_step, outcome.steps) == ({}, 40, 40)
    assert (outcome.parameters, set(outcome.speeds)) == (3, {"batches"})
    assert outcome.peak_bytes > 0


def test_what_the_objective_measures_is_kept(tmp_path: Path) -> None:
    objective = replace(SQUARES, measure=lambda model: {"size": float(model.weight.detach().norm())})
    done = trainer(objective=objective, folder=tmp_path).run()
    assert done.result.measured == {"size": float(done.model.weight.detach().norm())}
    again = trainer(objective=objective, folder=tmp_path, resume=True).run()
    assert again.result == done.result
    assert again.records == done.records


def test_a_run_that_stops_early_has_its_last_record(tmp_path: Path) -> None:
    schedule = Schedule(steps=2000, lr=0.5, warmup=0, evaluate_every=3, patience=2)
    done = trainer(schedule=schedule, folder=tmp_path).run()
    outcome = done.result
    assert outcome.steps == outcome.best_step + 6 < 2000
    assert done.records[-1]["step"] == outcome.steps
    assert trainer(schedule=schedule, folder=tmp_path, resume=True).run().result == outcome


class TestWrong:
    @pytest.mark.parametrize("figure", [math.nan, math.inf])
    def test_a_figure_that_is_not_finite(self, figure):
        objective = replace(SQUARES, score=lambda model, batch: {"merit": torch.tensor(figure)})
        with pytest.raises(
            InputError, match=r"merit on the part 'valid' of line must be finite, but is (nan|inf) at step 5"
        ):
            trainer(objective=objective, name="line").run()

    def test_a_checkpoint_keeps_no_run_that_is_lost(self, tmp_path):
        objective = replace(SQUARES, loss=lambda model, batch: SQUARES.loss(model, batch) * torch.inf)
        held = trainer(objective=objective, folder=tmp_path, machine=ALWAYS, schedule=replace(SCHEDULE, steps=900))
        with pytest.raises(InputError, match=r"must be finite, but is (nan|inf) at step 1: lower the learning rate"):
            held.run()
        assert not (tmp_path / "checkpoint.pt").exists()

    def test_nothing_to_learn(self):
        with pytest.raises(InputError, match="model must have parameters to learn"):
            Trainer(nn.Identity(), SQUARES, Data(lambda step: line()), SCHEDULE)

    def test_patience_without_evaluations(self):
        with pytest.raises(InputError, match="evaluations of 'valid', but data has no such part: add it to splits"):
            Trainer(linear(), SQUARES, Data(lambda step: line()), replace(SCHEDULE, patience=2))

    def test_an_empty_part(self):
        with pytest.raises(InputError, match="the part 'valid' of data is empty"):
            Trainer(linear(), SQUARES, Data(lambda step: line(), {"valid": list}), SCHEDULE).run()

    def test_another_run(self, tmp_path):
        trainer(folder=tmp_path, about={"width": 3}).run()
        for options, told in (
            ({"about": {"width": 4}}, "width is 3 there and 4 here"),
            ({"about": {"width": 3}, "seed": 1}, "seed is 0 there and 1 here"),
            ({"about": {"width": 3}, "size": 4}, "data.size is 8 there and 4 here"),
        ):
            with pytest.raises(InputError, match=told):
                trainer(folder=tmp_path, resume=True, **options)
        with pytest.raises(InputError, match="holds a run already: resume it"):
            trainer(folder=tmp_path, about={"width": 3})

    def test_another_model(self, tmp_path):
        trainer(folder=tmp_path).run()
        data = Data.of_tensors({"train": line(), "valid": line(7)}, size=8)
        with pytest.raises(InputError, match=r"holds the weights of another model \(.*size mismatch for weight"):
            Trainer(nn.Linear(3, 1).double(), SQUARES, data, SCHEDULE, folder=tmp_path, resume=True)

    def test_a_checkpoint_of_an_earlier_version(self, tmp_path):
        torch.save({"format": "monge-train-1", "step": 3}, tmp_path / "checkpoint.pt")
        with pytest.raises(InputError, match="written by an earlier version of monge, in the format monge-train-1"):
            trainer(folder=tmp_path, resume=True)

    @pytest.mark.parametrize(
        ("kind", "options", "told"),
        [
            (Schedule, {"accumulate": 0}, "accumulate must lie in"),
            (Schedule, {"average": 1.5}, "average must lie in"),
            (MachineConfig, {"device": "tpu9"}, "unknown to torch"),
            (MachineConfig, {"device": "meta"}, "not supported"),
            (MachineConfig, {"device": "cuda:99"}, "does not exist"),
            (MachineConfig, {"precision": "float8"}, "precision='float8' is unknown"),
        ],
    )
    def test_numbers(self, kind, options, told):
        with pytest.raises(InputError, match=told):
            kind(**options)


def test_processes_share_every_batch_and_every_part() -> None:
    whole = Order(40, 8, seed=0)
    shares = [Order(40, 8, seed=0, world=World(rank, 2)) for rank in range(2)]
    for step in (3, 0, 17):
        assert torch.equal(torch.stack([share[step] for share in shares], 1).flatten(), whole[step])
    found = [index for rank in range(3) for index in dealt(40, 4, world=World(rank, 3))]
    assert sorted(torch.cat(found).tolist()) == list(range(40))


def test_a_batch_is_anything_made_of_tensors() -> None:
    batch = {"x": torch.ones(2), "rest": [(torch.zeros(1), "text"), None]}
    found = moved(batch, torch.device("meta"))
    assert found["x"].device.type == found["rest"][0][0].device.type == "meta"
    assert (found["rest"][0][1], found["rest"][1]) == ("text", None)

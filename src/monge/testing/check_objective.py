"""The test suite of objectives: everything that the trainer relies on to repeat and to continue a run."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from monge.train import Data, Figures, MachineConfig, Objective, Schedule, Trained, Trainer, moved, seeded

from ._question import along, compare, difference, ways_of

__all__ = ["check_objective"]


def check_objective(objective: Objective, data: Data, model: nn.Module, *, steps: int = 4, smooth: bool = True) -> None:
    """Test an objective and its data for everything that a `monge.train.Trainer` relies on.

    A batch must be a function of the step, and a part must always give the same batches. The loss must be one finite
    number whose gradient agrees with differences; it must change no batch, and draw random numbers from torch's default
    generators only. Figures must have the same names for every batch, and measuring must change no weight. ``better``
    must be strict, and descriptions and measurements must be plain data. A run that was interrupted and resumed must
    have the same result as a run without interruption, on a CPU in every bit.

    Args:
        objective: The loss, the measurements, and which measurement is better.
        data: A batch for every step, and parts for evaluation.
        model: The model with its first weights; it is copied and not changed.
        steps: How many steps the compared runs make, at least two.
        smooth: Whether the gradient is that of the loss; a learned slicer uses the gradient of a smoother function.

    Raises:
        AssertionError: If one of these does not hold; the message names it.

    Example:
        >>> import torch
        >>> from monge.testing import check_objective
        >>> from monge.train import Data, Objective
        >>> x = torch.linspace(-1, 1, 12)[:, None]
        >>> data = Data.of_tensors({"train": (x, 3 * x), "valid": (x, 3 * x)}, size=4)
        >>> objective = Objective(lambda model, batch: (model(batch[0]) - batch[1]).square().mean())
        >>> check_objective(objective, data, torch.nn.Linear(1, 1))
    """
    _check_data(data, steps)
    _check_loss(objective, data, model)
    if smooth:
        _check_gradient(objective, data, model)
    found = _check_figures(objective, data, model)
    if found:
        _check_preference(objective, found)
    _check_resume(objective, data, model, steps)


def _same(one: Any, two: Any) -> bool:
    """Whether two trees of tensors and plain data hold the same."""
    (left, shape), (right, other) = pytree.tree_flatten(one), pytree.tree_flatten(two)
    return shape == other and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(left, right, strict=True)
    )


def _check_plain(what: str, held: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(held))
    except TypeError as error:
        raise AssertionError(f"{what} must be plain data, numbers, texts, lists and dictionaries ({error}).") from error


def _check_data(data: Data, steps: int) -> None:
    ahead = [copy.deepcopy(data.batch(step)) for step in range(steps)]
    for step in reversed(range(steps)):
        assert _same(data.batch(step), ahead[step]), f"data.batch({step}) must be the same whatever was asked before."
    for name, part in data.splits.items():
        first = copy.deepcopy(list(part()))
        assert first, f"The part {name!r} must hold at least one batch."
        assert _same(list(part()), first), f"The part {name!r} must give the same batches every time."
    amounts = data.amounts(ahead[0])
    assert all(isinstance(count, int) for count in amounts.values()), "data.amounts must count in whole numbers."
    _check_plain("data.describe", data.describe)


def _loss(objective: Objective, model: nn.Module, batch: Any) -> Tensor:
    with seeded("loss", device=_device(model)):
        return objective.loss(model, batch)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _check_loss(objective: Objective, data: Data, model: nn.Module) -> None:
    batch = moved(data.batch(0), _device(model))
    kept = copy.deepcopy(batch)
    loss = _loss(objective, copy.deepcopy(model).train(), batch)
    assert _same(batch, kept), "The loss must not change its batch."
    assert loss.shape == (), f"The loss must be one number, but has shape {tuple(loss.shape)}."
    assert loss.isfinite(), f"The loss must be finite, but is {loss.item()}."
    assert loss.requires_grad, "The loss must be differentiable by the weights of the model, but is cut from them."
    again = _loss(objective, copy.deepcopy(model).train(), batch)
    assert torch.equal(loss, again), (
        "The loss of the same weights, batch and seed must be the same: draw from torch's default generators only."
    )


def _check_gradient(objective: Objective, data: Data, model: nn.Module) -> None:
    """Along a random direction of all weights, against a difference."""
    made = copy.deepcopy(model).double().eval()
    batch = pytree.tree_map(
        lambda held: held.double() if isinstance(held, Tensor) and held.is_floating_point() else held,
        moved(data.batch(0), _device(model)),
    )
    weights = [weight for weight in made.parameters() if weight.requires_grad]

    def read() -> Tensor:
        return _loss(objective, made, batch)

    derivatives = torch.autograd.grad(read(), weights, allow_unused=True, materialize_grads=True)
    size = _norm(derivatives)
    assert size > 0, "The gradient of the loss must not vanish for the weights to start from."
    # Along the gradient and aside of it, so that neither a wrong length nor a wrong direction passes.
    for ways in (derivatives, ways_of(weights)):
        length = _norm(ways)
        compare(
            "The gradient of the loss",
            along(derivatives, ways) / length,
            difference(read, weights, ways, 1e-3 / length).double() / length,
            {"rtol": 2e-2, "atol": 1e-3 + 1e-2 * size},
            "differs from differences",
        )


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([held.norm() for held in tensors]).norm())


def _check_figures(objective: Objective, data: Data, model: nn.Module) -> dict[str, float]:
    """The means of all figures over the first part there is."""
    made = copy.deepcopy(model).eval()
    before = copy.deepcopy(made.state_dict())
    means: dict[str, float] = {}
    for name, part in data.splits.items():
        batches = [moved(batch, _device(model)) for batch in part()]
        with seeded("score", device=_device(model)), torch.no_grad():
            found = [objective.figures(made, batch) for batch in batches]
        names = found[0].keys()
        assert all(figures.keys() == names for figures in found), f"The figures of {name!r} must have the same names."
        for what in names:
            held = torch.cat([figures[what].double().reshape(-1) for figures in found])
            assert held.isfinite().all(), f"The figure {what!r} of {name!r} must be finite."
            means.setdefault(what, float(held.mean()))
    assert _same(made.state_dict(), before), "Measuring must not change the model."
    _check_plain("What the objective measures", objective.measure(made))
    return means


def _check_preference(objective: Objective, figures: Figures) -> None:
    try:
        objective.better(figures, figures)
    except KeyError as error:
        raise AssertionError(f"better asks for {error}, but what is measured is {', '.join(figures)}.") from error
    others = [{name: held + shift for name, held in figures.items()} for shift in (-0.1, 0.0, 0.1)]
    for one in others:
        assert not objective.better(one, dict(one)), "better must be strict: nothing is better than itself."
        for two in others:
            both = objective.better(one, two) and objective.better(two, one)
            assert not both, "better must not call each of two figures better than the other."


def _check_resume(objective: Objective, data: Data, model: nn.Module, steps: int) -> None:
    schedule = Schedule(steps=steps, lr=1e-3, warmup=0, evaluate_every=max(1, steps // 2))
    machine = MachineConfig(str(_device(model)), "float32")

    def trainer(**options: Any) -> Trainer:
        return Trainer(copy.deepcopy(model), objective, data, schedule, machine, **options)

    whole = trainer().run()
    with tempfile.TemporaryDirectory() as folder:
        first = trainer(folder=folder)
        for step in first:
            if step.number == steps // 2:
                break
        first.save()
        resumed = trainer(folder=folder, resume=True).run()
    exact = _device(model).type == "cpu"
    for name, wanted in whole.model.state_dict().items():
        found = resumed.model.state_dict()[name]
        allowed = {"rtol": 0.0 if exact else 1e-3, "atol": 0.0 if exact else 1e-5}
        compare(f"The weight {name!r} of a resumed run", found, wanted, allowed, "is not that of a whole one")
    assert not exact or _told(whole) == _told(resumed), "The figures of a resumed run must be those of a whole one."


def _told(trained: Trained) -> Any:
    """The figures, and what was measured on the way, without times."""
    records = [{k: held for k, held in record.items() if "second" not in k} for record in trained.records]
    return trained.result.figures, records

"""The objective of training: the loss, and how results are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Figures", "Objective", "lowest"]

Figures = Mapping[str, float]


def lowest(name: str) -> Callable[[Figures, Figures], bool]:
    """The rule by which the weights with the lowest figure of this name are the best.

    Example:
        >>> from monge.train import lowest
        >>> lowest("loss")({"loss": 1.0}, {"loss": 2.0})
        True
    """
    return lambda new, best: new[name] < best[name]


_LOWEST_LOSS = lowest("loss")


def _nothing(model: nn.Module) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Objective:
    """The loss, the measurements, and which measurement is better.

    The functions may draw random numbers from torch's default generators only. The trainer seeds these with its seed
    and the step, so that a run that was interrupted draws the same numbers as without the interruption.

    Args:
        loss: called with the model and a batch on its device; returns the loss, a scalar that training makes small.
        score: called with the model in evaluation mode and a batch; returns tensors by name, each with one number per
            item, or one for the batch. The means over all items of a part are reported. None measures the loss, as
            ``"loss"``, one number per batch.
        better: called with two dictionaries of means; says whether the first is better than the second.
        measure: called once with the final model; returns further plain numbers by name.

    Example:
        >>> import torch
        >>> from monge.train import Objective
        >>> objective = Objective(lambda model, batch: (model(batch) - 1).square().mean())
        >>> objective.figures(torch.nn.Identity(), torch.zeros(3))
        {'loss': tensor(1.)}
    """

    loss: Callable[[Any, Any], Tensor]
    score: Callable[[Any, Any], Mapping[str, Tensor]] | None = None
    better: Callable[[Figures, Figures], bool] = _LOWEST_LOSS
    measure: Callable[[Any], Mapping[str, Any]] = _nothing

    def figures(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """The measurements of a batch."""
        return {"loss": self.loss(model, batch)} if self.score is None else self.score(model, batch)

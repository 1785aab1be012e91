"""What is learned, and how it is judged."""

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
    """What is descended, what is measured, and which measurement is better.

    The three functions may draw from torch's default generators and from nothing else: the trainer seeds those from its
    seed and the step, so that an interrupted run draws what it would have drawn.

    Args:
        loss: called with the model and a batch on its device; answers the loss to descend, a scalar.
        score: called with the model in evaluation mode and a batch; answers tensors by name, each with one number per
            item, or one for the batch. Reported are the means over all items of a part. None measures the loss, as
            ``"loss"``, one number per batch.
        better: called with two means by name; whether the first is better than the second.
        measure: called with the model that came out; more about it, plain numbers by name, measured once.

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
        """What is measured on a batch."""
        return {"loss": self.loss(model, batch)} if self.score is None else self.score(model, batch)

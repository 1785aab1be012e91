"""What all losses share: how they are called, in which precision they compute, and what becomes of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from monge._arrays import working_dtype
from monge._checks import check_choice, check_floating
from monge.errors import InputError

__all__ = ["Loss"]

_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": Tensor.mean, "sum": Tensor.sum, "none": Tensor.clone}


class Loss(nn.Module, ABC):
    r"""A number for each problem of a batch of weighted clouds, reduced to what a training loop minimises.

    A loss of your own writes ``_values(x, y, a, b)``, one number for each problem. It is given tensors in float32 or
    float64, and autocast is off there: half precision has too few digits for a difference of nearly equal sums. The
    gradients come back in the dtype of the inputs.

    Args:
        reduction: What becomes of the problems of a batch: their ``"mean"``, their ``"sum"``, or ``"none"`` for one
            number each.

    Raises:
        InputError: If ``reduction`` is unknown.

    Example:
        >>> import torch
        >>> from monge.loss import Loss
        >>> class MeanLoss(Loss):
        ...     def _values(self, x, y, a, b):
        ...         return (x.mean(-2) - y.mean(-2)).square().sum(-1)
        >>> MeanLoss(reduction="none")(torch.zeros(2, 5, 3), torch.ones(2, 4, 3))
        tensor([3., 3.])
    """

    # Attributes that the representation shows.
    _told: ClassVar[tuple[str, ...]] = ()

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_choice("reduction", reduction, _REDUCTIONS)
        self.reduction = reduction

    def forward(self, x: Tensor, y: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> Tensor:
        """The loss between two clouds, or between the clouds of a batch.

        Args:
            x: First clouds, (*batch, n, d).
            y: Second clouds, (*batch, m, d).
            a: (*batch, n) weights of ``x``, 1/n each if None. A point of weight zero is absent.
            b: (*batch, m) weights of ``y``, 1/m each if None.

        Four tensors may also come as ``(a, x, b, y)``, every cloud behind its weights, as GeomLoss takes them; the
        shapes tell which order it is.

        Returns:
            One number, or one for each problem with ``reduction="none"``, in at least single precision.

        Raises:
            InputError: If an argument is wrong; the message says which, why, and what to do.
        """
        if torch.compiler.is_compiling():
            # Solvers loop over numbers that they read, which no graph can hold: a compiled model breaks off here.
            return torch.compiler.disable(self._reduced)(x, y, a, b)  # type: ignore[call-arg]
        return self._reduced(x, y, a, b)

    def _reduced(self, *given: Any) -> Tensor:
        x, y, a, b = _in_order(*(None if part is None else part.to(working_dtype(part)) for part in _floating(*given)))
        with torch.autocast(x.device.type, enabled=False):
            return _REDUCTIONS[self.reduction](self._values(x, y, a, b))

    @abstractmethod
    def _values(self, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        """One number for each problem, (*batch)."""

    def extra_repr(self) -> str:
        """The settings by name."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in (*self._told, "reduction"))


def _floating(x: Any, y: Any, a: Any, b: Any) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """What was given, if it is of the right kind."""
    for name, part in (("x", x), ("y", y), ("a", a), ("b", b)):
        if part is not None or name in "xy":
            check_floating(name, part)
    return x, y, a, b


def _in_order(x: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any, Any, Any]:
    """Clouds and their weights, in whichever of the two orders they came."""
    if a is None or b is None or x.shape != y.shape[:-1] or a.shape != b.shape[:-1]:
        return x, y, a, b
    if x.shape[-1] == y.shape[-1] and a.shape[-1:] == x.shape[-2:-1] and b.shape[-1] == y.shape[-2]:
        raise InputError(
            f"The order of the arguments must show in their shapes, but {tuple(x.shape)}, {tuple(y.shape)}, "
            f"{tuple(a.shape)}, {tuple(b.shape)} can be (x, y, a, b) and (a, x, b, y): expand the clouds to one batch."
        )
    return y, b, x, a

"""What can go wrong, as a small tree of exceptions.

Every message names the argument, the rule it broke, the values, and a remedy.
"""

from __future__ import annotations

__all__ = [
    "CapabilityError",
    "ConvergenceWarning",
    "DenseLimitError",
    "DeviceError",
    "DivergenceError",
    "DtypeError",
    "DurationWarning",
    "ExtensionWarning",
    "InfeasibleError",
    "InputError",
    "NotConvergedError",
    "PrecisionWarning",
    "PromotionWarning",
    "ShapeError",
    "TransportError",
]


class TransportError(Exception):
    """The root of every error that Monge raises on purpose.

    Example:
        >>> import torch
        >>> import monge
        >>> try:
        ...     monge.couple(torch.zeros(2, 3), torch.zeros(2, 4))
        ... except monge.TransportError as error:
        ...     print(type(error).__name__)
        ShapeError
    """


class InputError(TransportError, ValueError):
    """An argument has a value that is not allowed, such as NaN, a negative weight or an unknown name."""


class ShapeError(InputError):
    """Shapes do not fit together."""


class DtypeError(InputError, TypeError):
    """A tensor has a dtype that the operation cannot use, or two tensors disagree."""


class DeviceError(InputError):
    """Two tensors are on different devices."""


class DivergenceError(InputError):
    """Training diverged: its loss, or a figure that judges it, became NaN or infinite."""


class InfeasibleError(TransportError, ValueError):
    """No plan satisfies the constraints: masses differ, pairs are forbidden, or too much mass is asked for."""


class CapabilityError(TransportError, ValueError):
    """The solver cannot treat this problem; the message names the nearest one that can."""


class DenseLimitError(TransportError, MemoryError):
    """A dense matrix was asked for that is larger than the limit; the message names what to use instead."""


class NotConvergedError(TransportError, RuntimeError):
    """The solver stopped before it reached its tolerance; ``solution`` holds the answer that it had then."""

    def __init__(self, message: str, solution: object) -> None:
        super().__init__(message)
        self.solution = solution


class PrecisionWarning(UserWarning):
    """The answer that was asked for needs more digits than the dtype has."""


class PromotionWarning(UserWarning):
    """Arrays of different float types met in one call, and were promoted to the widest of them."""


class ConvergenceWarning(UserWarning):
    """A solver stopped before it reached its tolerance, in a function that returns no report."""


class DurationWarning(UserWarning):
    """An exact problem will take minutes by estimate; the message names what is faster."""


class ExtensionWarning(UserWarning):
    """An installed package declares something that cannot be used; the message names the package and the remedy."""

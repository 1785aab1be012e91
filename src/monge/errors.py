"""What can go wrong, as a small tree of exceptions.

Every message names the argument, the rule it broke, the values, and a remedy.
"""

from __future__ import annotations

__all__ = [
    "CapabilityError",
    "ConvergenceWarning",
    "DenseLimitError",
    "DeviceError",
    "DtypeError",
    "ExtensionWarning",
    "InfeasibleError",
    "InputError",
    "NotConvergedError",
    "PrecisionWarning",
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
    """An argument has a value that the mathematics does not allow: NaN, negative weights, an unknown name."""


class ShapeError(InputError):
    """Shapes do not fit together."""


class DtypeError(InputError, TypeError):
    """A tensor has a dtype that the operation cannot use, or two tensors disagree."""


class DeviceError(InputError):
    """Tensors live on different devices."""


class InfeasibleError(TransportError, ValueError):
    """No plan satisfies the constraints: unequal masses, forbidden costs, too much mass asked for."""


class CapabilityError(TransportError, ValueError):
    """The solver cannot treat this problem; the message names the nearest one that can."""


class DenseLimitError(TransportError, MemoryError):
    """A dense matrix was asked for that is larger than the limit; the message names what to use instead."""


class NotConvergedError(TransportError, RuntimeError):
    """The solver stopped before its tolerance; ``solution`` holds what it had reached."""

    def __init__(self, message: str, solution: object) -> None:
        super().__init__(message)
        self.solution = solution


class PrecisionWarning(UserWarning):
    """The numbers asked for are finer than the dtype resolves."""


class ConvergenceWarning(UserWarning):
    """A solver stopped before its tolerance, in a function whose answer has no room for a report."""


class ExtensionWarning(UserWarning):
    """An installed package declares something that cannot be used; the message names the package and the remedy."""

"""How much memory a reader may take."""

from __future__ import annotations

from ..errors import InputError

__all__ = ["MAX_BYTES", "Budget"]

MAX_BYTES = 2**32
"""What reading one file may take: what the file unpacks to, its copies, and its numbers in a wider dtype."""


class Budget:
    """Bytes that one reading may take in all; they are asked for before they are allocated.

    Args:
        limit: How many there are.
    """

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self.limit, self.taken = limit, 0

    def take(self, count: int) -> None:
        """Ask for so many bytes more.

        Raises:
            InputError: If they are not left.
        """
        self.taken += count
        if self.taken > self.limit:
            # A forged header may promise a number of thousands of digits.
            wanted = f"{self.taken} bytes" if self.taken < 2**64 else "more than 2**64 bytes"
            raise InputError(
                f"reading it takes {wanted}, but a reader may take {self.limit}; split it, or use a smaller dtype"
            )

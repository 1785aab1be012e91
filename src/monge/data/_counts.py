"""How many there shall be: whole numbers, told once and plainly if they are not."""

from __future__ import annotations

import math

from monge._checks import check_number
from monge.errors import InputError

__all__ = ["check_count", "check_counts"]


def check_count(name: str, number: int, *, low: int, high: float = math.inf) -> None:
    """``number`` must be a whole number in ``[low, high]``."""
    check_number(name, number, low=low, high=high)
    if not isinstance(number, int):
        raise InputError(f"{name} must be a whole number, but is {number!r}: use int({name}).")


def check_counts(counts: tuple[int, int, int]) -> None:
    """``counts`` must give each of the three parts at least one sequence."""
    if len(counts) != 3:
        raise InputError(f"counts must be three numbers, to train, to validate and to test, but are {counts!r}.")
    for part, count in zip(("train", "valid", "test"), counts, strict=True):
        check_count(f"the count of {part}", count, low=1)

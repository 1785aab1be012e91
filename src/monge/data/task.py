"""Tasks: tokens and labels, in a part for training, one for validation and one for the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Integer
from torch import Tensor

from monge.errors import DtypeError, InputError, ShapeError

__all__ = ["Parts", "Progress", "Split", "Task"]

# Called with how much is made or read, and of how much.
Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Split:
    """Sequences and their labels.

    Args:
        tokens: one sequence in each row, padded to one length, or pairs of sequences; of any integer dtype, best the
            smallest one that holds them. Call ``.long()`` when you use a row.
        labels: one class for each row.

    Raises:
        ShapeError: the numbers of labels and rows differ.
        DtypeError: tokens or labels are not integers.
    """

    tokens: Integer[Tensor, "count *pair length"]
    labels: Integer[Tensor, "count"]

    def __post_init__(self) -> None:
        if self.tokens.ndim not in (2, 3) or self.labels.shape != self.tokens.shape[:1]:
            raise ShapeError(
                "tokens must have shape (count, length) or (count, 2, length) and labels (count,), but have "
                f"{tuple(self.tokens.shape)} and {tuple(self.labels.shape)}."
            )
        for name, numbers in (("tokens", self.tokens), ("labels", self.labels)):
            if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
                raise DtypeError(f"{name} must be integers, but are {numbers.dtype}: use {name}.long().")

    def __len__(self) -> int:
        """How many sequences there are."""
        return self.labels.shape[0]


# To learn from, to choose a checkpoint on, to report.
Parts = tuple[Split, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """A classification of sequences of tokens.

    Args:
        name: the name of the task in tables.
        train: the part for training.
        valid: the part on which a checkpoint is chosen.
        test: the part whose results are reported.
        vocabulary: token ids run from 0 to vocabulary - 1.
        classes: labels run from 0 to classes - 1.
        pad: the id of padding, None if every position is present (as with pixels).

    Raises:
        InputError: a split is empty, or a token or a label lies outside of its range.

    Example:
        >>> import torch
        >>> from monge.data import Split, Task
        >>> part = Split(torch.tensor([[1, 2, 0], [2, 2, 1]]), torch.tensor([0, 1]))
        >>> Task("toy", part, part, part, vocabulary=3, classes=2, pad=0).majority_rate
        0.5
    """

    name: str
    train: Split
    valid: Split
    test: Split
    vocabulary: int
    classes: int
    pad: int | None = None

    def __post_init__(self) -> None:
        for name, split in self.parts.items():
            if len(split) == 0:
                raise InputError(f"{name} of the task {self.name!r} is empty: give it at least one sequence.")
            ranges = (("token", split.tokens, self.vocabulary), ("label", split.labels, self.classes))
            for what, numbers, count in ranges:
                low, high = int(numbers.min()), int(numbers.max())
                if low < 0 or high >= count:
                    raise InputError(
                        f"{what}s of {name} of the task {self.name!r} must lie in 0..{count - 1}, but reach "
                        f"from {low} to {high}: check the files it was read from."
                    )

    @property
    def parts(self) -> dict[str, Split]:
        """All splits by their names."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @property
    def length(self) -> int:
        """The longest sequence, padding included."""
        return max(split.tokens.shape[-1] for split in self.parts.values())

    @property
    def majority_rate(self) -> float:
        """The accuracy on the test part if the answer is always its most frequent class; a model must be better."""
        return float(torch.bincount(self.test.labels.long()).max()) / len(self.test)

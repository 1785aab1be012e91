"""Long ListOps: nested operations on lists of digits, generated as they are defined."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from monge._checks import check_count
from monge.errors import InputError, ShapeError

from ._store import stored
from ._trees import CLOSE, FIRST_DIGIT, SYMBOLS, grow
from .task import Progress, Task

__all__ = ["evaluate_list_operations", "list_operations", "list_operations_text"]

# To be raised when the same seed gives other trees than before, so that none of before are taken from a folder.
EDITION = 1
BATCH = 4096
PATIENCE = 250


def list_operations(
    *,
    lengths: tuple[int, int] = (500, 2000),
    depth: int = 10,
    arguments: int = 10,
    counts: tuple[int, int, int] = (96_000, 2_000, 2_000),
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Task:
    r"""Trees of operations on digits, written out; the label is their value: ``[MAX 2 9 [MIN 4 7 ] 0 ]`` is 9.

    A node above ``depth`` (the root has depth 1) is an operator with probability 1/4, and otherwise a digit, uniform in
    0 to 9; at ``depth`` it is a digit. An operator is minimum, maximum, median (rounded down) or sum modulo 10, each
    with the same probability, and its number of arguments is uniform in 2 to ``arguments``. A tree has one symbol for
    each digit and two for each operator (itself and its closing bracket). A tree is kept if this length lies strictly
    between the two ``lengths`` and if the tree was not drawn before, so that no two parts share a tree.

    Labels are not uniform: minima and maxima of many digits are mostly 0 and 9. On the standard task, 17 % of the
    answers are right if the answer is always the most frequent class. So an accuracy of 18 % means that nothing was
    learned.

    With the short form, ``lengths=(100, 400), depth=6``, attention layers can be compared in minutes.

    Args:
        lengths: a tree is longer than the first and shorter than the second.
        depth: how deep a tree may grow.
        arguments: how many arguments an operator may have.
        counts: how many trees there are for training, validation and the test. Those for the test and for
            validation are drawn first: for one seed, they are the same for every number of training trees.
        seed: the same seed gives the same trees.
        folder: where generated trees are stored from one call to the next; None stores nothing on disk.
        progress: called with the number of trees that are made and the number of all trees.

    Returns:
        A task with ten classes and 16 token ids: 0 is padding, 1 to 10 the digits, 11 to 14 the operators, 15 the
        closing bracket. Rows are padded to the second of ``lengths``.

    Raises:
        InputError: a number is out of range, there are not so many different trees, or the folder cannot be used.

    Example:
        >>> from monge.data import list_operations, list_operations_text
        >>> task = list_operations(lengths=(4, 9), depth=3, counts=(100, 10, 10), seed=1)
        >>> list_operations_text(task.test.tokens[0]), int(task.test.labels[0])
        ('[SM 8 3 7 3 3 ]', 4)

    Source: Nangia and Bowman, "ListOps: A Diagnostic Dataset for Latent Tree Learning", arXiv:1804.06028; the long form
    is of Tay et al., "Long Range Arena", arXiv:2011.04006.
    """
    check_count("lengths[0]", lengths[0], low=0)
    check_count("lengths[1]", lengths[1], low=lengths[0] + 2)
    check_count("depth", depth)
    check_count("arguments", arguments, low=2, high=100)
    return stored(
        folder, partial(_unique_trees, lengths, depth, arguments), EDITION, *lengths, depth, arguments,
        counts=counts, seed=seed, progress=progress, name="list_operations", vocabulary=len(SYMBOLS), classes=10, pad=0,
    )  # fmt: skip


def _unique_trees(
    lengths: tuple[int, int], depth: int, arguments: int, count: int, seed: int, progress: Progress
) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    tokens = np.zeros((count, lengths[1]), dtype=np.uint8)
    labels = np.zeros(count, dtype=np.int64)
    seen: set[bytes] = set()
    found = fruitless = 0
    while found < count:
        trees = grow(BATCH, rng, depth=depth, arguments=arguments, lengths=lengths)
        before, stop = found, 0
        for length, label in zip(trees.lengths.tolist(), trees.labels.tolist(), strict=True):
            start, stop = stop, stop + length
            tree = trees.tokens[start:stop]
            mark = hashlib.blake2b(tree.tobytes(), digest_size=16).digest()
            if mark in seen or found == count:
                continue
            seen.add(mark)
            tokens[found, :length] = tree
            labels[found] = label
            found += 1
        fruitless = 0 if found > before else fruitless + 1
        if fruitless == PATIENCE:
            raise InputError(
                f"counts ask for {count} different trees, but after {found} of them {PATIENCE * BATCH} more draws of "
                f"depth <= {depth} gave no new one of {lengths[0]} < length < {lengths[1]}: ask for fewer, or for "
                "other lengths or a greater depth."
            )
        progress(found, count)
    return torch.from_numpy(tokens), torch.from_numpy(labels)


def list_operations_text(tokens: Integer[Tensor, "length"]) -> str:
    """One tree as text, with blanks between its symbols.

    Args:
        tokens: the ids of one tree; padding is left out.

    Returns:
        The text.

    Raises:
        InputError: an id is not one of the 16 ids.

    Example:
        >>> import torch
        >>> from monge.data import list_operations_text
        >>> list_operations_text(torch.tensor([12, 3, 10, 15, 0]))
        '[MAX 2 9 ]'
    """
    return " ".join(SYMBOLS[token] for token in _ids(tokens) if token)


def evaluate_list_operations(tokens: Integer[Tensor, "*batch length"]) -> Int[Tensor, "*batch"]:
    """The values of trees, computed from their tokens with a stack, independently of the code that makes the trees.

    Args:
        tokens: ids of trees; padding is left out.

    Returns:
        One digit for each tree.

    Raises:
        InputError: an id is not one of the 16 ids, brackets do not match, an operator has no argument, or there is
            more than one tree in a row.

    Example:
        >>> import torch
        >>> from monge.data import evaluate_list_operations
        >>> evaluate_list_operations(torch.tensor([[12, 3, 10, 15, 0], [14, 8, 8, 8, 15]]))
        tensor([9, 1])
    """
    if tokens.ndim == 0:
        raise ShapeError("tokens must have shape (*batch, length), but is one number: pass a tree.")
    rows = tokens.reshape(-1, tokens.shape[-1])
    values = [_evaluated(_ids(row)) for row in rows]
    return torch.tensor(values, dtype=torch.int64, device=tokens.device).reshape(tokens.shape[:-1])


def _ids(tokens: Tensor) -> list[int]:
    ids = tokens.tolist()
    wrong = next((token for token in ids if not 0 <= token < len(SYMBOLS)), None)
    if wrong is not None:
        raise InputError(f"tokens must be ids in 0..{len(SYMBOLS) - 1}, but hold {wrong}: pass list operations.")
    return ids


OPERATIONS: dict[int, Callable[[list[int]], int]] = {
    SYMBOLS.index("[MIN"): min,
    SYMBOLS.index("[MAX"): max,
    SYMBOLS.index("[MED"): lambda held: int(np.median(held)),
    SYMBOLS.index("[SM"): lambda held: sum(held) % 10,
}


def _evaluated(ids: list[int]) -> int:
    open_operators: list[int] = []
    # Arguments of each open operator; the outermost list receives the value of the tree.
    held: list[list[int]] = [[]]
    for token in filter(None, ids):
        if token in OPERATIONS:
            open_operators.append(token)
            held.append([])
        elif token != CLOSE:
            held[-1].append(token - FIRST_DIGIT)
        elif not open_operators or not held[-1]:
            raise InputError(
                "tokens must be a tree, but a bracket closes nothing, or closes an operator without an argument: check "
                "where the rows were cut."
            )
        else:
            value = OPERATIONS[open_operators.pop()](held.pop())
            held[-1].append(value)
    if open_operators or len(held[0]) != 1:
        raise InputError(
            f"tokens must be a tree, but {len(open_operators)} operators are not closed and {len(held[0])} values are "
            "left instead of one: check where the rows were cut."
        )
    return held[0][0]

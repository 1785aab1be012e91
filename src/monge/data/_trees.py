"""Random trees of list operations, many at once: level by level, so that NumPy does the work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SYMBOLS = ("", *"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]")
"""What each token id stands for; the first is padding."""

FIRST_DIGIT, FIRST_OPERATOR, CLOSE = 1, 11, 15
OPERATOR_RATE = 0.25


@dataclass(frozen=True)
class Trees:
    """Trees one behind the other: the next ``lengths[k]`` of ``tokens`` are tree k, and its value is ``labels[k]``."""

    tokens: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


@dataclass
class _Level:
    """The nodes of one depth, ordered by tree and by parent: siblings stand side by side, from left to right."""

    tree: np.ndarray
    parent: np.ndarray
    operator: np.ndarray

    def families(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each family of siblings begins, and how many they are."""
        starts = np.flatnonzero(np.diff(self.parent, prepend=-1))
        return starts, np.diff(starts, append=self.parent.size)


def grow(count: int, rng: np.random.Generator, *, depth: int, arguments: int, lengths: tuple[int, int]) -> Trees:
    """Grow ``count`` trees and keep those whose length lies strictly between the two ``lengths``.

    Only the shape of a tree is drawn at first: digits and operators are independent of it, so they wait for the few
    that are kept. A tree that is too long already grows no further.
    """
    levels, total = _shapes(count, rng, depth, arguments, lengths[1])
    kept = (lengths[0] < total) & (total < lengths[1])
    levels = _kept(levels, kept)
    symbols = [
        np.where(
            level.operator,
            FIRST_OPERATOR + rng.integers(4, size=level.tree.size),
            FIRST_DIGIT + rng.integers(10, size=level.tree.size),
        ).astype(np.uint8)
        for level in levels
    ]
    sizes, values = _from_below(levels, symbols, arguments)
    return Trees(_written(levels, symbols, sizes), sizes[0], values[0])


def _shapes(
    count: int, rng: np.random.Generator, depth: int, arguments: int, high: int
) -> tuple[list[_Level], np.ndarray]:
    tree = np.arange(count)
    parent = np.zeros(count, dtype=np.int64)
    total = np.zeros(count, dtype=np.int64)
    levels = []
    for t in range(1, depth + 1):
        operator = rng.random(tree.size) < OPERATOR_RATE if t < depth else np.zeros(tree.size, dtype=bool)
        levels.append(_Level(tree, parent, operator))
        # A digit is one symbol, an operator two: itself and its bracket.
        total += np.bincount(tree, minlength=count) + np.bincount(tree[operator], minlength=count)
        growing = np.flatnonzero(operator & (total < high)[tree])
        if not growing.size:
            break
        parent = np.repeat(growing, rng.integers(2, arguments + 1, size=growing.size))
        tree = tree[parent]
    return levels, total


def _kept(levels: list[_Level], kept: np.ndarray) -> list[_Level]:
    """The same levels without the nodes of trees that are not kept, numbered anew."""
    answer = []
    renumbered = np.zeros(kept.size, dtype=np.int64)
    for level in levels:
        stays = kept[level.tree]
        answer.append(_Level(level.tree[stays], renumbered[level.parent[stays]], level.operator[stays]))
        renumbered = np.cumsum(stays) - 1
    return answer


def _from_below(
    levels: list[_Level], symbols: list[np.ndarray], arguments: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """How many symbols the subtree below each node takes, and its value."""
    sizes = [1 + level.operator.astype(np.int64) for level in levels]
    values = [symbol.astype(np.int64) - FIRST_DIGIT for symbol in symbols]
    for t in range(len(levels) - 2, -1, -1):
        above, below = levels[t], levels[t + 1]
        if not below.parent.size:
            continue
        starts, fans = below.families()
        operators = np.flatnonzero(above.operator)
        sizes[t][operators] += np.add.reduceat(sizes[t + 1], starts)
        # One row an operator, its arguments in ascending order at the front.
        table = np.full((operators.size, arguments), 99, dtype=np.int8)
        row = np.repeat(np.arange(operators.size), fans)
        table[row, np.arange(below.parent.size) - starts[row]] = values[t + 1]
        table.sort(axis=1)
        at = np.arange(operators.size)
        outcomes = np.stack(
            [
                table[:, 0],
                table[at, fans - 1],
                (table[at, (fans - 1) // 2] + table[at, fans // 2]) // 2,
                np.add.reduceat(values[t + 1], starts) % 10,
            ]
        )
        values[t][operators] = outcomes[symbols[t][operators] - FIRST_OPERATOR, at]
    return sizes, values


def _written(levels: list[_Level], symbols: list[np.ndarray], sizes: list[np.ndarray]) -> np.ndarray:
    """All trees as they are read, from left to right."""
    tokens = np.zeros(int(sizes[0].sum()), dtype=np.uint8)
    place = np.cumsum(sizes[0]) - sizes[0]
    for t, level in enumerate(levels):
        if t:
            before = np.cumsum(sizes[t]) - sizes[t]
            starts, fans = level.families()
            # Behind the operator and behind the siblings on the left.
            place = place[level.parent] + 1 + before - np.repeat(before[starts], fans)
        tokens[place] = symbols[t]
        tokens[(place + sizes[t] - 1)[level.operator]] = CLOSE
    return tokens

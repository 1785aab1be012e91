"""Strategies for hypothesis: clouds, weights and costs, also those that often cause errors."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

__all__ = ["clouds", "costs", "weights"]


def _numbers(low: float, high: float, *, integer: bool) -> st.SearchStrategy[float]:
    if integer:
        return st.integers(math.ceil(low), math.floor(high)).map(float)
    return st.floats(low, high, allow_nan=False, width=32)


Size = int | st.SearchStrategy[int]


def _drawn(draw: st.DrawFn, *sizes: Size) -> list[int]:
    return [size if isinstance(size, int) else draw(size) for size in sizes]


def _table(draw: st.DrawFn, each: st.SearchStrategy[Any], n: int, m: int, dtype: torch.dtype) -> Tensor:
    return torch.tensor(draw(st.lists(each, min_size=n * m, max_size=n * m)), dtype=dtype).reshape(n, m)


@st.composite
def clouds(
    draw: st.DrawFn,
    n: Size = st.integers(1, 8),  # noqa: B008 - strategies are values
    d: Size = st.integers(1, 3),  # noqa: B008
    *,
    radius: float = 10.0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Point clouds (n, d) with coordinates of at most ``radius``: real or integer ones, duplicates included.

    Args:
        draw: Given by hypothesis.
        n: How many points, or a strategy for this number.
        d: Dimension, or a strategy for it.
        radius: The largest coordinate.
        dtype: The dtype.

    Example:
        >>> from hypothesis import given
        >>> from monge.testing.strategies import clouds
        >>> @given(clouds(n=4, d=2))
        ... def holds(x):
        ...     assert x.shape == (4, 2)
        >>> holds()
    """
    n, d = _drawn(draw, n, d)
    return _table(draw, _numbers(-radius, radius, integer=draw(st.booleans())), n, d, dtype)


@st.composite
def weights(
    draw: st.DrawFn,
    n: Size = st.integers(1, 8),  # noqa: B008
    *,
    zeros: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Weights (n,) of mass one; some are uniform, and some contain zeros.

    Args:
        draw: Given by hypothesis.
        n: How many weights, or a strategy for this number.
        zeros: Whether some may be zero.
        dtype: The dtype.

    Example:
        >>> from hypothesis import given
        >>> from monge.testing.strategies import weights
        >>> @given(weights(n=5))
        ... def holds(a):
        ...     assert abs(a.sum() - 1) < 1e-12
        >>> holds()
    """
    (n,) = _drawn(draw, n)
    parts = draw(st.lists(st.integers(0 if zeros else 1, 20), min_size=n, max_size=n).filter(any))
    held = torch.tensor(parts, dtype=dtype)
    return held / held.sum()


@st.composite
def costs(
    draw: st.DrawFn,
    n: Size = st.integers(1, 6),  # noqa: B008
    m: Size = st.integers(1, 6),  # noqa: B008
    *,
    forbidden: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Cost matrices (n, m), real or integer, of either sign.

    Args:
        draw: Given by hypothesis.
        n: Number of rows, or a strategy for it.
        m: Number of columns, or a strategy for it.
        forbidden: Whether some pairs may have the cost +inf; at least one pair of every row is allowed.
        dtype: The dtype.

    Example:
        >>> from hypothesis import given
        >>> from monge.testing.strategies import costs
        >>> @given(costs(n=2, m=3))
        ... def holds(cost):
        ...     assert cost.shape == (2, 3)
        >>> holds()
    """
    n, m = _drawn(draw, n, m)
    cost = _table(draw, _numbers(-10.0, 10.0, integer=draw(st.booleans())), n, m, dtype)
    if forbidden:
        mask = _table(draw, st.booleans(), n, m, torch.bool)
        mask[torch.arange(n), torch.arange(n) % m] = False
        cost = cost.masked_fill(mask, math.inf)
    return cost

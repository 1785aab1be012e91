"""Couplers by name."""

from __future__ import annotations

from typing import Any

from monge.errors import InputError
from monge.registry import Registry, check_derived

from ._coupler import Coupler, Promise

__all__ = ["COUPLERS", "build", "names", "table"]


def _couplers_only(name: str, thing: object) -> None:
    check_derived(name, thing, Coupler, "monge.nn.couplers.Coupler")
    if not isinstance(getattr(thing, "promise", None), Promise):
        raise InputError(f"The coupler {name!r} lacks a promise: write promise = Promise(...) in its class.")


COUPLERS: Registry[type[Coupler]] = Registry("coupler", check=_couplers_only)
"""Every coupler that has a name: its `Coupler.build` makes it for heads of a width."""


def names() -> dict[str, type[Coupler]]:
    """Every coupler that `build` and `monge.nn.Attention` know by name, those of installed packages included.

    Example:
        >>> from monge.nn.couplers import names
        >>> names()["pivots"].promise.source
        'arXiv 2509.23436, exact step of this library'
    """
    return dict(COUPLERS.items())


def table() -> str:
    """The promises of every coupler as a table in Markdown.

    Example:
        >>> from monge.nn.couplers import names, table
        >>> len(table().splitlines()) == len(names()) + 2
        True
    """
    head = ("coupler", "exactness", "time", "memory", "padding", "pairs", "causal", "n ≠ m", "gradient", "source")
    rows = [head, ("---",) * len(head)]
    for name, coupler in names().items():
        told = coupler.promise
        rows.append(
            (
                f"`{name}`",
                told.exactness,
                told.time,
                told.memory,
                "yes",
                "yes" if told.pairs else "no",
                told.causal,
                "no" if told.square else "yes",
                told.gradient,
                told.source,
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def build(name: str, heads: int, width: int, **options: Any) -> Coupler:
    """A coupler by its name.

    Args:
        name: One of `COUPLERS`.
        heads: Heads of the attention.
        width: Width of a head.
        options: Of its class.

    Raises:
        InputError: Unknown ``name``.

    Example:
        >>> from monge.nn.couplers import build
        >>> build("pivots", 2, 8, pivots=4).locations.shape
        torch.Size([2, 4, 8])
    """
    return COUPLERS[name].build(heads, width, **options)

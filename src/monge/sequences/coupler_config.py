"""A coupler by name and options, as it is written on a command line and kept in a checkpoint."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from monge.errors import InputError
from monge.nn.couplers import Coupler, build

__all__ = ["CouplerConfig"]


@dataclass(frozen=True)
class CouplerConfig:
    """Which coupler an encoder uses.

    Args:
        name: as in `monge.nn.couplers.COUPLERS`.
        options: of its class.

    Raises:
        InputError: there is no such coupler, or it does not take such options.

    Example:
        >>> from monge.sequences import CouplerConfig
        >>> CouplerConfig.parse("pivots:pivots=64:iterations=2")
        CouplerConfig(name='pivots', options={'pivots': 64, 'iterations': 2})
        >>> str(CouplerConfig("pivots", {"pivots": 64}))
        'pivots:pivots=64'
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Built once for nothing, so that a wrong option is a sentence now and no surprise later.
        self.build(1, 4)

    @classmethod
    def parse(cls, text: str) -> CouplerConfig:
        """Read ``name:option=value:option=value``; values are Python literals, and anything else is a string."""
        name, *given = text.strip().split(":")
        options = {}
        for item in given:
            key, equals, told = item.partition("=")
            if not (key and equals):
                raise InputError(
                    f"the coupler {text!r} must have the form name:option=value, but has {item!r} in it: write "
                    "option=value."
                )
            options[key] = _literal(told)
        return cls(name, options)

    @classmethod
    def of(cls, coupler: str | CouplerConfig) -> CouplerConfig:
        """The same, or what the text says."""
        return cls.parse(coupler) if isinstance(coupler, str) else coupler

    @classmethod
    def parse_list(cls, text: str | Iterable[str | CouplerConfig]) -> tuple[CouplerConfig, ...]:
        """Read several, separated by commas if they are one text; no two may be the same."""
        parts = (part for part in text.split(",") if part.strip()) if isinstance(text, str) else text
        found = tuple(map(cls.of, parts))
        labels = [str(coupler) for coupler in found]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if not found or twice:
            told = f"{', '.join(twice)} twice" if twice else "none"
            raise InputError(f"couplers must be one or more different names, but there is {told}: name each once.")
        return found

    def build(self, heads: int, width: int) -> Coupler:
        """The coupler for so many heads of such a width."""
        try:
            return build(self.name, heads, width, **self.options)
        except TypeError as error:
            raise InputError(f"the coupler {self} cannot be built ({error}): use the options of its class.") from error

    def __str__(self) -> str:
        """What `parse` reads."""
        return ":".join([self.name, *(f"{key}={told}" for key, told in self.options.items())])


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
